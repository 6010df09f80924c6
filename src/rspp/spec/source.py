"""YAML text becomes a tree in which everything knows its line and column, or it becomes problems; never an exception.

A spec may come from anybody, so the text is read as data only: no tags, no merge keys, no cycles, and bounds on size,
depth and on what aliases expand to. The tree is built from parser events with a stack of our own, because a composer
that recurses can be made to overflow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

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

from rspp.spec.problem import Findings, Mark, Path

TEXT_CHARACTERS_MAX: Final = (
    262_144  # a spec of a thousand nodes fits; the pure parser needs seconds for more
)
DEPTH_MAX: Final = 24  # the deepest legal field lies at 9
TREE_NODES_MAX: Final = 20_000  # counted after aliases are expanded
INTEGER_DIGITS_MAX: Final = 18  # what fits in 64 bits whatever the digits


class Scalar(msgspec.Struct, frozen=True):
    """One value; `refused` when it was reported already and is to be treated as not given."""

    value: str | int | float | bool | None
    raw: str
    at: Mark
    refused: bool = False


class Sequence(msgspec.Struct, frozen=True):
    items: tuple[Node, ...]
    at: Mark


class Mapping(msgspec.Struct, frozen=True):
    entries: dict[str, Node]
    keys_at: dict[str, Mark]
    at: Mark


Node = Scalar | Sequence | Mapping
_Start = MappingStartEvent | SequenceStartEvent


class Comment(msgspec.Struct, frozen=True):
    text: str
    at: Mark


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A read text: its tree (None when it could not be read), its comments, and where each path stands."""

    file: str
    text: str
    root: Mapping | None
    comments: tuple[Comment, ...]
    findings: Findings


def read(text: str, file: str, subject: str = "") -> Source:
    """Read one YAML document whose root is a mapping; `subject` is what its problems speak of."""
    findings = Findings(file, subject=subject)
    builder = _Builder(findings)
    root = builder.build(text)
    if root is not None and not isinstance(root, Mapping):
        hint = "Begin with `pipeline: name`"
        builder.report("not_a_mapping", root.at, "a spec is a mapping of fields to values", hint)
        root = None
    values: dict[Path, Mark] = {}
    keys: dict[Path, Mark] = {}
    if root is not None:
        _index(root, (), root.at, values, keys)
    located = Findings(file, values, keys, subject)
    located.problems.extend(findings.problems)
    return Source(file=file, text=text, root=root, comments=tuple(builder.comments(text)), findings=located)


def plain(node: Node) -> object:
    """The tree without its positions, for free-form values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}


def _index(node: Node, path: Path, at: Mark, values: dict[Path, Mark], keys: dict[Path, Mark]) -> None:
    """A scalar is found at its value, a collection at the key that introduces it."""
    values[path] = node.at if isinstance(node, Scalar) else at
    if isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            _index(item, (*path, index), item.at, values, keys)
    elif isinstance(node, Mapping):
        for key, item in node.entries.items():
            keys[(*path, key)] = node.keys_at[key]
            _index(item, (*path, key), node.keys_at[key], values, keys)


class _RefusedError(Exception):
    """The rest of the text is not worth reading; the finding was already added."""


class _Open:
    """A collection whose end has not been read yet."""

    def __init__(self, event: _Start, *, mapping: bool) -> None:
        self.mapping = mapping
        self.at = _mark(event)
        self.anchor: str | None = event.anchor
        self.items: list[Node] = []
        self.entries: dict[str, Node] = {}
        self.keys_at: dict[str, Mark] = {}
        self.key: str | None = None
        self.expecting_key = mapping
        self.size = 1
        self.height = 1


class _Builder:
    """Turns parser events into a tree. `spans` remembers where scalars stand, so that comments can be told apart."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._root: Node | None = None
        self._documents = 0
        self._spans: dict[int, list[tuple[int, int]]] = {}

    def build(self, text: str) -> Node | None:
        if len(text) > TEXT_CHARACTERS_MAX:
            limit = f"the text has {len(text)} characters, more than {TEXT_CHARACTERS_MAX}"
            self._findings.error("too_large", (), limit, "Split it into modules")
            return None
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                self._take(event)
        except _RefusedError:
            return None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
            self.report("yaml_syntax", place, f"this is not YAML: {error.problem or error.context}")
            return None
        except (
            YAMLError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            AssertionError,
        ) as error:
            # The parser answers some malformed text with whatever went wrong inside it; to us all of it is bad text.
            self.report("yaml_syntax", Mark(1, 1), f"this is not YAML: {_first_line(error)}")
            return None
        nothing = self._root is None or (isinstance(self._root, Scalar) and self._root.value is None)
        if nothing and not self._findings.failed:
            hint = "The least is `template: voice` with its providers"
            self.report("empty", Mark(1, 1), "the spec is empty", hint)
            return None
        return self._root

    def comments(self, text: str) -> Iterator[Comment]:
        """A `#` after white space and outside every scalar begins a comment."""
        for number, line in enumerate(text.splitlines()[:TREE_NODES_MAX]):
            spans = self._spans.get(number, [])
            for found in re.finditer(r"(?:^|(?<=\s))#", line):
                if not any(start <= found.start() < end for start, end in spans):
                    yield Comment(line[found.end() :].strip(), Mark(number + 1, found.start() + 1))
                    break

    def report(self, code: str, at: Mark, message: str, hint: str = "") -> None:
        here = Findings(self._findings.file, {(): at}, subject=self._findings.subject)
        here.error(code, (), message, hint)
        self._findings.problems.extend(here.problems)

    def _refuse(self, code: str, at: Mark, message: str, hint: str = "") -> _RefusedError:
        self.report(code, at, message, hint)
        return _RefusedError()

    def _take(self, event: Event) -> None:
        if isinstance(event, ScalarEvent):
            self._remember_span(event)
            self._check_tag(event)
            self._place(self._scalar(event), 1, 1, event.anchor)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._check_tag(event)
            self._open(event)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self._close()
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refuse(
                    "many_documents", _mark(event), "a file holds one spec", "Split it at `---`"
                )

    def _open(self, event: _Start) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and top.expecting_key:
            raise self._refuse("key_not_text", _mark(event), "a key must be text, not a collection")
        if len(self._stack) >= DEPTH_MAX:
            raise self._refuse("too_deep", _mark(event), f"collections are nested deeper than {DEPTH_MAX}")
        self._stack.append(_Open(event, mapping=isinstance(event, MappingStartEvent)))

    def _close(self) -> None:
        done = self._stack.pop()
        node: Node = (
            Mapping(done.entries, done.keys_at, done.at)
            if done.mapping
            else Sequence(tuple(done.items), done.at)
        )
        self._place(node, done.size, done.height, done.anchor)

    def _alias(self, event: AliasEvent) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise self._refuse(
                "bad_alias", _mark(event), f"*{event.anchor} names nothing that ended before it"
            )
        node, size, height = target
        if len(self._stack) + height > DEPTH_MAX:
            raise self._refuse("too_deep", _mark(event), f"*{event.anchor} nests deeper than {DEPTH_MAX}")
        self._place(node, size, height, None, _mark(event))

    def _place(self, node: Node, size: int, height: int, anchor: str | None, at: Mark | None = None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        # What is open adds up along the stack: checking the sum of all open sizes bounds the whole tree.
        if sum(open_.size for open_ in self._stack) > TREE_NODES_MAX:
            limit = f"the spec has more than {TREE_NODES_MAX} values once its aliases are expanded"
            raise self._refuse("too_large", at or node.at, limit)
        if not top.mapping:
            top.items.append(node)
        elif top.expecting_key:
            top.expecting_key = False
            top.key = self._key(top, node)
        else:
            top.expecting_key = True
            if top.key is not None:
                top.entries[top.key] = node

    def _key(self, top: _Open, node: Node) -> str | None:
        """The key to file the next value under, or None when that value is to be left out."""
        if not isinstance(node, Scalar):
            raise self._refuse("key_not_text", node.at, "a key must be text, not a collection")
        if not isinstance(node.value, str):
            self.report(
                "key_not_text", node.at, f"the key {node.raw!r} is not text", f'Quote it: "{node.raw}"'
            )
            return None
        if node.value == "<<":
            self.report(
                "merge_key", node.at, "merge keys are not read", "Repeat the fields, or alias the whole value"
            )
            return None
        if node.value in top.keys_at:
            first = top.keys_at[node.value].line
            self.report("duplicate_key", node.at, f"'{node.value}' was already given on line {first}")
            return None
        top.keys_at[node.value] = node.at
        return node.value

    def _check_tag(self, event: ScalarEvent | _Start) -> None:
        if event.tag is not None:
            tag = str(event.tag)
            self.report(
                "tag", _mark(event), f"the tag {tag} is not read", "A spec is plain data: remove the tag"
            )

    def _scalar(self, event: ScalarEvent) -> Scalar:
        raw = str(event.value)
        value: str | int | float | bool | None = raw
        refused = False
        if event.style in (None, "") and event.implicit[0]:
            value = _plain_value(raw)
            if isinstance(value, float) and not math.isfinite(value):
                self.report("not_finite", _mark(event), f"{raw} is not a number one can reckon with")
                value, refused = 0.0, True
            elif isinstance(value, int) and len(raw) > INTEGER_DIGITS_MAX:
                self.report("number_too_large", _mark(event), f"{raw[:24]}... does not fit in 64 bits")
                value, refused = 0, True
        return Scalar(value, raw, _mark(event), refused)

    def _remember_span(self, event: ScalarEvent) -> None:
        first, last = event.start_mark, event.end_mark
        for line in range(first.line, min(last.line, first.line + TREE_NODES_MAX) + 1):
            start = first.column if line == first.line else 0
            end = last.column if line == last.line else TEXT_CHARACTERS_MAX
            self._spans.setdefault(line, []).append((start, end))


# The YAML 1.2 core schema: `yes` and `on` stay text, and a leading zero means nothing.
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + word: math.inf for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}


def _plain_value(raw: str) -> str | int | float | bool | None:
    if raw in _WORDS:
        return _WORDS[raw]
    if _INTEGER.fullmatch(raw):
        return int(raw[: INTEGER_DIGITS_MAX + 1])
    if _FLOAT.fullmatch(raw):
        return float(raw)
    return raw


def _mark(event: Event) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
