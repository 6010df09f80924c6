"""What changed is written where it stood, and nothing else is touched: comments, blank lines, order and quoting stay.

    a value         takes the place of the one before
    a list          its items are changed one by one; new ones follow the last, those that are gone go with their lines
    an empty list   `[]` after its key

The new text is read again by `form` before anybody writes it to a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rspp.manifest import tree
from rspp.manifest.tree import Node, Scalar, Span

STEP: Final = 2  # columns that a level is indented by
# Characters that YAML does not take as they are, or takes for the end of a line.
_ESCAPED: Final = re.compile(
    r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


class Edit(NamedTuple):
    start: int
    end: int
    text: str


def scalar(value: str | bool) -> str:
    """A value as it is written: text always in quotes, so that no text is taken for something else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    inside = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", inside) + '"'


def keys(value: Mapping[str, Any], indent: int = 0) -> Iterator[str]:
    """The lines of a mapping, in the template's own manner."""
    pad = " " * indent
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield f"{pad}{key}:"
            yield from keys(inner, indent + STEP)
        elif isinstance(inner, (list, tuple)):
            yield f"{pad}{key}:" if inner else f"{pad}{key}: []"
            yield from items(inner, indent + STEP)
        else:
            yield f"{pad}{key}: {scalar(inner)}"


def items(values: Sequence[Any], indent: int) -> Iterator[str]:
    """The lines of a list that is not empty."""
    pad = " " * indent
    for value in values:
        if isinstance(value, Mapping):
            first, *rest = keys(value, indent + STEP)
            yield f"{pad}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{pad}- {scalar(value)}"


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def spliced(text: str, root: tree.Mapping, wanted: Mapping[str, Any], line_end: str) -> str:
    """The text with everything in it that differs from what is wanted replaced."""
    edits = sorted(_Splicer(text, line_end).mapping(root, wanted, in_flow=root.flow))
    parts, at = [], 0
    for edit in edits:
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join((*parts, text[at:]))


class _Splicer:
    def __init__(self, text: str, line_end: str) -> None:
        self._text = text
        self._line_end = line_end

    def mapping(self, node: tree.Mapping, wanted: Mapping[str, Any], *, in_flow: bool) -> Iterator[Edit]:
        for key, value in node.entries.items():
            if key in wanted:
                yield from self._value(value, wanted[key], node.keys[key], in_flow=in_flow)

    def _value(self, node: Node, wanted: Any, key: Span | None, *, in_flow: bool) -> Iterator[Edit]:
        if isinstance(node, Scalar):
            if node.value != wanted:
                yield Edit(node.at.start, node.at.end, scalar(wanted))
        elif isinstance(node, tree.Mapping):
            yield from self.mapping(node, wanted, in_flow=in_flow or node.flow)
        elif plain(node) == wanted:
            return
        elif node.flow:
            yield from self._flow(node, wanted, key, in_flow=in_flow)
        else:
            yield from self._block(node, wanted, key)

    def _flow(
        self, node: tree.Sequence, wanted: Sequence[Any], key: Span | None, *, in_flow: bool
    ) -> Iterator[Edit]:
        if node.items or in_flow or key is None:
            yield Edit(node.at.start, node.at.end, flow(wanted))
            return
        # `KEY: []  # why` becomes `KEY:  # why` with the items below.
        yield Edit(self._after_colon(key), node.at.end, "")
        yield self._below(node.at.end, wanted, key.column - 1 + STEP)

    def _block(self, node: tree.Sequence, wanted: Sequence[Any], key: Span | None) -> Iterator[Edit]:
        both = min(len(node.items), len(wanted))
        for item, value in zip(node.items[:both], wanted[:both], strict=True):
            yield from self._value(item, value, None, in_flow=False)
        if len(wanted) > both:
            yield self._below(node.at.end, wanted[both:], node.at.column - 1)
        elif len(node.items) > both:
            if both == 0 and key is not None:
                after = self._after_colon(key)
                yield Edit(after, after, " []")
            yield Edit(self._line_before(node, both), self._line_end_after(node.at.end), "")

    def _below(self, place: int, values: Sequence[Any], indent: int) -> Edit:
        """Items on lines of their own, below the line of a place."""
        end = self._line_end_after(place)
        return Edit(end, end, "".join(self._line_end + line for line in items(values, indent)))

    def _after_colon(self, key: Span) -> int:
        colon = self._text.index(":", key.end)
        return colon + 1

    def _line_end_after(self, place: int) -> int:
        while place < len(self._text) and self._text[place] not in "\r\n":
            place += 1
        return place

    def _line_before(self, node: tree.Sequence, index: int) -> int:
        """The end of the line before the one with this item's dash."""
        dash = re.compile(rf"(?:\r\n|\n|\r)(?= {{{node.at.column - 1}}}-(?:\s|\Z))")
        floor = node.items[index - 1].at.end if index else max(0, node.at.start - node.at.column - 1)
        found = dash.search(self._text, floor)
        if found is None:
            raise ValueError("a list without the dash of its item")
        return found.start()


def plain(node: Node) -> Any:
    """The values of a tree, without their places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, tree.Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.entries.items()}
