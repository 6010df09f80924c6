"""What stands in a tree against what a document may hold: every fault with its line and key, and what to do."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from rspp.manifest.document import Document, Routing, Section
from rspp.manifest.faults import Fault
from rspp.manifest.tree import Mapping, Node, Scalar, Sequence, Span

T = TypeVar("T", bound=Section)

FAULTS_MAX: Final = 200  # more of them help nobody


def document_of(root: Mapping, name: str) -> tuple[Document | None, tuple[Fault, ...]]:
    """The document that the tree says, or everything that keeps it from being one."""
    return _read(root, Document, name, lacking=False)


def routing_of(root: Mapping, name: str) -> tuple[Routing | None, tuple[Fault, ...]]:
    """Likewise for ROUTING alone, of which keys may be left out."""
    return _read(root, Routing, name, lacking=True)


def _read(root: Mapping, kind: type[T], name: str, *, lacking: bool) -> tuple[T | None, tuple[Fault, ...]]:
    reader = _Reader(name, lacking=lacking)
    plain = reader.value(root, _type_of(kind), "", root.at)
    if reader.faults:
        return None, tuple(reader.faults[:FAULTS_MAX])
    return msgspec.convert(plain, kind), ()


@lru_cache(maxsize=2)
def _type_of(kind: type[Section]) -> inspect.Type:
    return inspect.type_info(kind)


class _Reader:
    def __init__(self, name: str, *, lacking: bool) -> None:
        self.faults: list[Fault] = []
        self._name = name
        self._lacking = lacking  # whether a key may be left out

    def value(self, node: Node, wanted: inspect.Type, key: str, at: Span) -> Any:
        """The value in plain Python; `at` is where its key stands."""
        if isinstance(node, Scalar) and node.kind == "null" and not node.raw:
            node = msgspec.structs.replace(node, at=at)  # what is not written is missed at its key
        if isinstance(wanted, inspect.StructType):
            if isinstance(node, Mapping):
                return self._mapping(node, wanted, key, at)
            self._type(
                node, key, "keys with values below it", "Write its keys below it, as the template has them"
            )
        elif isinstance(wanted, inspect.VarTupleType):
            if isinstance(node, Sequence):
                return self._sequence(node, wanted, key)
            self._type(node, key, "a list", "Write [] when it is empty, else one `- item` a line")
        elif not isinstance(node, Scalar):
            self._type(node, key, "one value", "Write one value in quotes")
        elif isinstance(wanted, inspect.BoolType):
            if node.kind == "bool":
                return node.value
            self._type(node, key, "true or false", "Write true or false, without quotes")
        elif node.kind != "text":
            shown = f'Put it in quotes: "{node.raw[:60]}"'
            self._type(node, key, "text", shown)
        elif isinstance(wanted, inspect.EnumType):
            return self._word(node, wanted, key)
        elif isinstance(wanted, inspect.StrType):
            return self._text(node, wanted, key)
        return None

    def _mapping(self, node: Mapping, wanted: inspect.StructType, key: str, at: Span) -> dict[str, Any]:
        fields = {field.name: field.type for field in wanted.fields}
        for name, span in node.keys.items():
            if name not in fields:
                near = get_close_matches(name, fields, 1, 0.6)
                fix = f"Did you mean {near[0]}?" if near else "Remove it; the keys are " + ", ".join(fields)
                self._add(
                    "manifest_key_unknown", _below(key, name), f"there is no key {name}"[:200], fix, span
                )
        for name in fields:
            if name not in node.keys and not self._lacking:
                fix = f"Write {name} with its value, also when it is empty"
                self._add("manifest_key_missing", _below(key, name), f"{name} is missing", fix, at)
        return {
            name: self.value(value, fields[name], _below(key, name), node.keys[name])
            for name, value in node.entries.items()
            if name in fields
        }

    def _sequence(self, node: Sequence, wanted: inspect.VarTupleType, key: str) -> list[Any]:
        if wanted.max_length is not None and len(node.items) > wanted.max_length:
            message = f"it has {len(node.items)} items, more than {wanted.max_length}"
            self._add("manifest_value_invalid", key, message, "Take some out", node.at)
        return [
            self.value(item, wanted.item_type, f"{key}[{index}]", item.at)
            for index, item in enumerate(node.items)
        ]

    def _word(self, node: Scalar, wanted: inspect.EnumType, key: str) -> str:
        words = [str(member.value) for member in wanted.cls]
        if node.raw not in words:
            near = get_close_matches(node.raw, words, 1, 0.6)
            fix = f"Did you mean {near[0]}?" if near else "Use one of them"
            message = f"{node.raw[:60]!r} is none of {', '.join(words)}"
            self._add("manifest_value_invalid", key, message, fix, node.at)
        return node.raw

    def _text(self, node: Scalar, wanted: inspect.StrType, key: str) -> str:
        text = node.raw
        if wanted.max_length is not None and len(text) > wanted.max_length:
            message = f"it has {len(text)} characters, more than {wanted.max_length}"
            self._add("manifest_value_invalid", key, message, "Shorten it", node.at)
        elif wanted.pattern is not None and not re.search(wanted.pattern, text):
            message, fix = "it is not what may stand here", "Write one line without control characters"
            if r"\d{4}" in wanted.pattern:
                message, fix = (
                    f"{text[:40]!r} is no date",
                    'Write it as "2026-01-31", or "" when there is none',
                )
            elif r"\x20" in wanted.pattern:
                message, fix = f"{text[:60]!r} is no key", "Write it without spaces"
            self._add("manifest_value_invalid", key, message, fix, node.at)
        return text

    def _type(self, node: Node, key: str, wanted: str, fix: str) -> None:
        self._add("manifest_value_invalid", key, f"it must be {wanted}, and is {_named(node)}", fix, node.at)

    def _add(self, code: str, key: str, message: str, fix: str, at: Span) -> None:
        self.faults.append(
            Fault(
                code=code, message=message, fix=fix, file=self._name, line=at.line, column=at.column, key=key[:200]
            )
        )  # fmt: skip


_NAMES: Final = {"text": "text", "bool": "true or false", "null": "nothing", "number": "a number"}


def _named(node: Node) -> str:
    if isinstance(node, Scalar):
        return _NAMES[node.kind]
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _below(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
