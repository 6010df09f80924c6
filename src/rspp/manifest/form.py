"""A document out of a file's text, and back into it. Everything that is wrong is told at once; nothing but values is changed.

*.yaml, *.yml   the whole text is the manifest
anything else   Markdown: one block of it is (`markdown`), and all around stays byte for byte
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath
from typing import Any, Final

import msgspec

from rspp.manifest import markdown, shape, splice, tree
from rspp.manifest.document import Document, Section
from rspp.manifest.faults import Fault, ManifestError

FILE_BYTES_MAX: Final = 1024 * 1024
YAML_SUFFIXES: Final = frozenset((".yaml", ".yml"))
KNOWN_TEXTS_MAX: Final = 4
KNOWN_CHARACTERS_MAX: Final = 256 * 1024  # of one of them
BOM: Final = "\ufeff"


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A document, or why there is none."""

    document: Document | None
    faults: tuple[Fault, ...]
    root: tree.Mapping | None = None
    block: markdown.Block | None = None


def is_markdown(name: str) -> bool:
    return PurePath(name).suffix.lower() not in YAML_SUFFIXES


def decode(data: bytes, name: str) -> str | Fault:
    """The text of a file: UTF-8, and not larger than a manifest may be."""
    if len(data) > FILE_BYTES_MAX:
        return Fault(
            code="manifest_too_large",
            message=f"the file has {len(data)} bytes, more than {FILE_BYTES_MAX}",
            fix="Move what is no manifest into another file",
            file=name,
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        return Fault(
            code="manifest_syntax",
            message=f"byte {error.start} is not UTF-8",
            fix="Save the file as UTF-8",
            file=name,
            line=before.count(b"\n") + 1,
            column=error.start - before.rfind(b"\n"),
        )


def read(text: str, name: str) -> Read:
    """The document that a text says, or everything that is wrong with it."""
    return _known(text, name) if len(text) <= KNOWN_CHARACTERS_MAX else _read(text, name)


# An update reads what the last one wrote, and what it writes is read again to see that it is right: the same few texts.
@lru_cache(maxsize=KNOWN_TEXTS_MAX)
def _known(text: str, name: str) -> Read:
    return _read(text, name)


def _read(text: str, name: str) -> Read:
    if is_markdown(name):
        found = markdown.find(text, name)
        if isinstance(found, Fault):
            return Read(document=None, faults=(found,))
    else:
        start = 1 if text.startswith(BOM) else 0
        found = markdown.Block(start, len(text), 1)
    read_tree = tree.read(text, name, found.start, found.end, found.line)
    if read_tree.root is None:
        return Read(document=None, faults=read_tree.faults, block=found)
    document, faults = shape.document_of(read_tree.root, name)
    faults = tuple(sorted((*read_tree.faults, *faults), key=lambda fault: (fault.line, fault.column)))
    return Read(document=None if faults else document, faults=faults, root=read_tree.root, block=found)


def write(text: str, document: Document, name: str) -> str:
    """The text with what the document says; of what it said already no character changes."""
    before = read(text, name)
    if before.document == document:
        return text
    line_end = _line_end(text)
    if before.document is not None and before.root is not None:
        try:
            after = splice.spliced(text, before.root, plain(document), line_end)
        except ValueError:
            after = ""
        if after and read(after, name).document == document:
            return after
    # It cannot be read, or is written as nobody foresaw: its place is filled anew.
    after = _filled(text, before.block, document, line_end, name)
    if read(after, name).document != document:
        raise ManifestError(
            "manifest_unwritable",
            f"the document cannot be put into {name}: it would not be read again as what it is",
            read(after, name).faults,
        )
    return after


def blank(document: Document = Document()) -> str:  # noqa: B008 - a frozen value
    """A whole file in the template's manner."""
    sections = ["\n".join(splice.keys({name: section})) + "\n" for name, section in plain(document).items()]
    return "\n".join(sections)


def plain(section: Section) -> dict[str, Any]:
    """What a document says, in plain values and in the file's order."""
    value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(section))  # tuples become lists
    return value


def _filled(text: str, block: markdown.Block | None, document: Document, line_end: str, name: str) -> str:
    whole = blank(document).replace("\n", line_end)
    if not is_markdown(name):
        return (BOM if text.startswith(BOM) else "") + whole
    if block is not None:
        return text[: block.start] + whole + text[block.end :]
    found = markdown.find(text, name)
    if isinstance(found, Fault) and "which one" in found.message:
        raise ManifestError("manifest_invalid", f"{name} has more than one manifest", (found,))
    gap = "" if not text or text.endswith(("\n", "\r")) else line_end
    return f"{text}{gap}{line_end}```yaml{line_end}{whole}```{line_end}"


def _line_end(text: str) -> str:
    """How the first line ends."""
    for index, sign in enumerate(text):
        if sign == "\n":
            return "\n"
        if sign == "\r":
            return "\r\n" if text[index + 1 : index + 2] == "\n" else "\r"
    return "\n"
