"""Where in a Markdown file the manifest stands: the one block that has all seven sections, fenced as YAML or not.

A block without a fence begins with a section at the beginning of a line and goes on through indented lines, empty lines and
further keys; a heading, a rule, `END.` or any other prose ends it. Blocks with fewer sections are documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from rspp.manifest.document import SECTIONS
from rspp.manifest.faults import Fault

_FENCE: Final = re.compile(r" {0,3}(?P<sign>`{3,}|~{3,})[ \t]*(?P<info>[^`\r\n]*?)[ \t]*(?:\r\n|\n|\r|\Z)")
_SECTION: Final = re.compile(r"""(?P<indent>[ ]*)["']?(?P<name>[A-Z][A-Z0-9_]*)["']?[ \t]*:(?=\s|\Z)""")
_INSIDE: Final = re.compile(r"[ \t]*(?:\r\n|\n|\r|\Z)|[ ]+\S|[A-Z][A-Z0-9_]*[ \t]*:(?=\s|\Z)")
_LINES: Final = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
_YAML: Final = frozenset(("", "yaml", "yml"))


class Block(msgspec.Struct, frozen=True):
    """Some characters of a text, and the line on which they begin; `sections` are those it has."""

    start: int
    end: int
    line: int
    sections: frozenset[str] = frozenset(SECTIONS)

    @property
    def whole(self) -> bool:
        return len(self.sections) == len(SECTIONS)


class _Line(msgspec.Struct, frozen=True):
    start: int
    end: int
    number: int
    text: str


def find(text: str, name: str) -> Block | Fault:
    """The manifest's block; a fault when there is none, or more than one."""
    blocks = tuple(_blocks(text))
    whole = tuple(block for block in blocks if block.whole)
    if len(whole) == 1:
        return whole[0]
    if whole:
        lines = ", ".join(str(block.line) for block in whole)
        return Fault(
            code="manifest_block",
            message=f"{len(whole)} blocks have all seven sections (lines {lines}): which one counts?",
            fix="Leave one; take a section out of the others, or fence them as ```text",
            file=name,
            line=whole[1].line,
            column=1,
        )
    near = max(blocks, key=lambda block: len(block.sections), default=None)
    if near is None or len(near.sections) < 2:
        message = "no block of it has the seven sections " + ", ".join(SECTIONS)
    else:
        lacking = ", ".join(section for section in SECTIONS if section not in near.sections)
        message = f"no block has all seven sections; this one lacks {lacking}"
    return Fault(
        code="manifest_block",
        message=message,
        fix="Write all seven after one another, each at the beginning of its line, or between ```yaml and ```",
        file=name,
        line=near.line if near else 1,
        column=1,
    )


def _blocks(text: str) -> Iterator[Block]:
    fence = ""  # the sign that a fence was opened with
    body: list[_Line] | None = None  # lines of the block that is being read
    for line in _lines(text):
        found = _FENCE.match(line.text)
        if fence:
            if found and not found["info"] and found["sign"].startswith(fence):
                yield from _block(body)
                fence, body = "", None
            elif body is not None:
                body.append(line)
            continue
        if found:
            yield from _block(body)
            fence = found["sign"]
            body = [] if found["info"].lower() in _YAML else None
        elif body and _INSIDE.match(line.text):
            body.append(line)
        else:
            yield from _block(body)
            head = _SECTION.match(line.text)
            body = [line] if head and not head["indent"] and head["name"] in SECTIONS else None
    yield from _block(body)


def _block(body: list[_Line] | None) -> Iterator[Block]:
    """The lines as a block, without the empty ones at its end, if it has a section at all."""
    while body and not body[-1].text.strip():
        body.pop()
    if not body:
        return
    heads = [found for line in body if (found := _SECTION.match(line.text)) and found["name"] in SECTIONS]
    if heads:
        indent = min(len(found["indent"]) for found in heads)
        sections = frozenset(found["name"] for found in heads if len(found["indent"]) == indent)
        yield Block(body[0].start, body[-1].end, body[0].number, sections)


def _lines(text: str) -> Iterator[_Line]:
    start = 1 if text.startswith("\ufeff") else 0
    for number, found in enumerate(_LINES.finditer(text, start), start=1):
        yield _Line(found.start(), found.end(), number, found[0])
