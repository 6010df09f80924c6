"""YAML text becomes a tree in which everything knows its line and the characters it takes, or it becomes faults.

A manifest is plain data that people edit: no anchors, no aliases, no tags, no merge keys, one document. The tree is made of
the parser's events, so that what was written can later be replaced where it stands, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NoReturn

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from rspp.manifest.faults import Fault

DEPTH_MAX: Final = 12  # the deepest key of a manifest lies at 6
NODES_MAX: Final = 100_000

# Words that YAML takes for something else than text when they stand without quotes.
_BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_NUMBER: Final = re.compile(
    r"[-+]?(?:[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))"
    r"|\.(?:nan|NaN|NAN)"
)

_BLOCKS: Final = ("|", ">")  # styles of text that begins on the next line

Kind = Literal["text", "bool", "null", "number"]


class Span(msgspec.Struct, frozen=True):
    """Where something stands: its characters in the whole text, and its first line and column as editors count them."""

    start: int
    end: int
    line: int
    column: int


class Scalar(msgspec.Struct, frozen=True):
    kind: Kind
    raw: str
    style: str  # "" plain, else the sign it begins with: ' " | >
    at: Span

    @property
    def value(self) -> str | bool | None:
        """A number is its own text: no key of a manifest is one."""
        return _BOOLS[self.raw] if self.kind == "bool" else None if self.kind == "null" else self.raw


class Sequence(msgspec.Struct, frozen=True):
    items: tuple[Node, ...]
    flow: bool
    at: Span


class Mapping(msgspec.Struct, frozen=True):
    entries: dict[str, Node]
    keys: dict[str, Span]
    flow: bool
    at: Span


Node = Scalar | Sequence | Mapping
_Start = MappingStartEvent | SequenceStartEvent


class Tree(msgspec.Struct, frozen=True):
    """What was read; no root when it cannot be read at all."""

    root: Mapping | None
    faults: tuple[Fault, ...]


def read(text: str, name: str, start: int = 0, end: int | None = None, line: int = 1) -> Tree:
    """The YAML between two places of a text, the first of which is on this line."""
    return _Reader(text, name, start, len(text) if end is None else end, line).read()


class _RefusedError(Exception):
    """The rest is not worth reading; its fault is on the list."""


class _Reader:
    def __init__(self, text: str, name: str, start: int, end: int, line: int) -> None:
        self._text = text[start:end]
        self._name = name
        self._offset = start
        self._line = line
        self._faults: list[Fault] = []
        self._nodes = 0
        self._events: Iterator[Event] = iter(())

    def read(self) -> Tree:
        try:
            self._events = YAML(typ="safe", pure=True).parse(self._text)
            root = self._root()
        except _RefusedError:
            root = None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (self._line + mark.line, mark.column + 1) if mark else (self._line, 1)
            self._syntax(line, column, str(error.problem or error.context))
            root = None
        except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            # The parser answers some malformed text with whatever went wrong inside it; to us all of it is bad text.
            self._syntax(self._line, 1, (str(error).strip().splitlines() or [type(error).__name__])[0][:120])
            root = None
        return Tree(root, tuple(self._faults))

    def _root(self) -> Mapping | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(
                        event, "a manifest is one document of YAML", "Remove what follows the second `---`"
                    )
            elif isinstance(event, (ScalarEvent, MappingStartEvent, SequenceStartEvent, AliasEvent)):
                root = self._node(event, 1)
        if root is None or (isinstance(root, Scalar) and root.kind == "null"):
            self._syntax(self._line, 1, "it is empty", "`rspp manifest init` writes a blank one")
            return None
        if not isinstance(root, Mapping):
            self._syntax(root.at.line, root.at.column, "a manifest is a mapping of sections")
            return None
        return root

    def _node(self, event: Event, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            self._refuse(event, f"it has more than {NODES_MAX} values", "Begin a new session")
        if not isinstance(event, (ScalarEvent, MappingStartEvent, SequenceStartEvent)):
            self._refuse(event, "aliases are not read", "Write the value out")
        if event.anchor is not None:
            self._complain(event, "anchors are not read", f"Remove `&{event.anchor}`")
        if event.tag is not None:
            self._complain(
                event, f"the tag {event.tag} is not read", "A manifest is plain data: remove the tag"
            )
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if depth > DEPTH_MAX:
            self._refuse(event, f"it is nested deeper than {DEPTH_MAX}", "Keep to the keys of a manifest")
        return (
            self._mapping(event, depth)
            if isinstance(event, MappingStartEvent)
            else self._sequence(event, depth)
        )

    def _scalar(self, event: ScalarEvent) -> Scalar:
        raw, style = str(event.value), event.style or ""
        kind: Kind = "text"
        if not style:
            if raw in _BOOLS:
                kind = "bool"
            elif raw in _NULLS:
                kind = "null"
            elif _NUMBER.fullmatch(raw):
                kind = "number"
        span = self._span(event)
        if style in _BLOCKS:  # to the parser it ends where the next thing begins
            inside = self._text[span.start - self._offset : span.end - self._offset]
            span = Span(span.start, span.start + len(inside.rstrip()), span.line, span.column)
        return Scalar(kind, raw, style, span)

    def _sequence(self, event: SequenceStartEvent, depth: int) -> Sequence:
        items: list[Node] = []
        for inner in self._events:
            if isinstance(inner, SequenceEndEvent):
                return Sequence(tuple(items), bool(event.flow_style), self._whole(event, inner, items))
            items.append(self._node(inner, depth + 1))
        raise AssertionError("a list without its end")  # the parser ends what it begins

    def _mapping(self, event: MappingStartEvent, depth: int) -> Mapping:
        entries: dict[str, Node] = {}
        keys: dict[str, Span] = {}
        values: list[Node] = []
        for inner in self._events:
            if isinstance(inner, MappingEndEvent):
                return Mapping(entries, keys, bool(event.flow_style), self._whole(event, inner, values))
            key = self._key(inner, keys)
            values.append(self._node(next(self._events), depth + 1))
            if key is not None:
                entries[key] = values[-1]
        raise AssertionError("a mapping without its end")

    def _key(self, event: Event, keys: dict[str, Span]) -> str | None:
        """The key to file the next value under; None when that value is to be left out."""
        if not isinstance(event, ScalarEvent):
            self._refuse(event, "a key is text", "Keep to the keys of a manifest")
        node = self._node(event, 0)
        key = str(event.value)
        if key == "<<":
            self._complain(event, "merge keys are not read", "Write the keys out")
            return None
        if key in keys:
            self._complain(
                event, f"{key} was given already on line {keys[key].line}", "Remove one of the two", key
            )
            return None
        keys[key] = node.at
        return key

    def _span(self, first: Event, last: Event | None = None) -> Span:
        mark = first.start_mark
        end = (last or first).end_mark.index
        return Span(self._offset + mark.index, self._offset + end, self._line + mark.line, mark.column + 1)

    def _whole(self, first: _Start, last: Event, inside: list[Node]) -> Span:
        """A block ends with the last of its values: the parser's own end lies after the comments that follow."""
        span = self._span(first, last)
        if first.flow_style or not inside:
            return span
        return Span(span.start, max(node.at.end for node in inside), span.line, span.column)

    def _syntax(
        self, line: int, column: int, what: str, fix: str = "Mend the line, or restore the file"
    ) -> None:
        self._faults.append(
            Fault(
                code="manifest_syntax", message=f"this is no YAML of a manifest: {what}", fix=fix,
                file=self._name, line=line, column=column,
            )
        )  # fmt: skip

    def _complain(self, event: Event, message: str, fix: str, key: str = "") -> None:
        span = self._span(event)
        self._faults.append(
            Fault(
                code="manifest_syntax", message=message, fix=fix,
                file=self._name, line=span.line, column=span.column, key=key,
            )
        )  # fmt: skip

    def _refuse(self, event: Event, message: str, fix: str) -> NoReturn:
        self._complain(event, message, fix)
        raise _RefusedError


def place_of(root: Mapping, key: str) -> Span | None:
    """Where a key like LEDGERS.ROLE_LEDGER[0].status stands, or the nearest above it that does."""
    node: Node = root
    place: Span | None = None
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        if index and isinstance(node, Sequence) and int(index) < len(node.items):
            node = node.items[int(index)]
            place = node.at
        elif isinstance(node, Mapping) and name in node.entries:
            place, node = node.keys[name], node.entries[name]
        else:
            break
    return place
