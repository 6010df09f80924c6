"""For people: how each step ended, as one entry of Markdown. It is made of the trace's line alone, so it can be made again.

An entry ends with a mark that names its line. Where the mark of the last result is missing, something died before it was
written, or while it was: what is lacking of it is added, and never a second one.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from rspp.manifest import disk
from rspp.manifest.faults import ManifestError
from rspp.manifest.trace import Line

log = logging.getLogger("rspp.manifest.changelog")

CHANGELOG_BYTES_MAX: Final = 16 * 1024 * 1024
ITEMS_MAX: Final = 50  # of a list in an entry; the manifest has them all
# Signs that would make something else than text of what somebody said.
_MARKUP: Final = str.maketrans({sign: f"\\{sign}" for sign in "\\`*[]<"})


class Changelog:
    """The file of one manifest. Only its end is written; people may edit what stands there, but not the marks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[int, disk.Seen | None] = (0, None)  # the result that is in it, in which file

    def tell(self, port: disk.Disk, line: Line | None) -> None:
        """The entry of this result is in the file; a file that cannot be written is told, and tried again next time."""
        if line is None or self._known == (line.n, disk.seen(self.path)):
            return
        try:
            with disk.told(self.path):
                self._add(port, entry(line).encode(), mark(line).encode())
        except ManifestError as error:
            log.warning("the changelog was not written: %s", error.message)
            return
        self._known = (line.n, disk.seen(self.path))

    def _add(self, port: disk.Disk, new: bytes, sign: bytes) -> None:
        found = disk.read(self.path, CHANGELOG_BYTES_MAX)
        there = found[0] if found else b""
        if len(there) > CHANGELOG_BYTES_MAX:
            raise ManifestError(
                "manifest_unwritable",
                f"{self.path.name} has more than {CHANGELOG_BYTES_MAX} bytes. Move it away; a new one is begun.",
            )
        if sign in there:
            return
        begun = _begun(there, new)
        # An entry begins on a line of its own, behind an empty one.
        gap = b"" if begun or not there else b"\n" if there.endswith(b"\n") else b"\n\n"
        disk.append(port, self.path, gap + new[begun:], len(there), len(there))


def _begun(there: bytes, new: bytes) -> int:
    """How much of the entry stands at the end already, from the beginning of a line."""
    for size in range(min(len(new), len(there)), 0, -1):
        if there.endswith(new[:size]) and there[-size - 1 : -size] in (b"", b"\n"):
            return size
    return 0


def mark(line: Line) -> str:
    return f"<!-- trace {line.n} {line.sum[:16]} -->"


def entry(line: Line) -> str:
    """What happened in a step, for people."""
    says = line.says
    step = line.wrote.get("CURRENT_STEP", {})
    result = line.wrote.get("LAST_RESULT", {})
    patch = line.wrote.get("PATCH_TRACKING", {})
    resume = line.wrote.get("RESUME", {})
    status = str(says.get("status", ""))
    code = f" ({_text(result['FAIL_CODE'])})" if result.get("FAIL_CODE") else ""
    parts = [f"## Step {_text(step.get('STEP_ID', ''))}: {status}{code}, {line.at[:10]}\n"]
    parts.append(f"\nGoal: {_text(step.get('STEP_GOAL', ''))} (by {_text(line.by)})\n")
    parts += _list("Why", result.get("FAIL_REASONS"))
    parts += _list("To mend", result.get("FIX_LIST"))
    parts += _list("Needed to go on", resume.get("RESUME_REQUIREMENTS"))
    if says.get("changed"):
        parts += _list(f"Changed ({_text(patch.get('LAST_PATCHSET_ID', ''))})", says["changed"])
    if result.get("VAL_REPORT_REF"):
        parts.append(f"\nReport: {_text(result['VAL_REPORT_REF'])}\n")
    target = resume.get("RESUME_TARGET", {})
    if target.get("GOAL"):
        where = f" ({_text(target['FILE'])})" if target.get("FILE") else ""
        parts.append(f"\nNext: {_text(target['GOAL'])}{where}\n")
    return "".join((*parts, f"\n{mark(line)}\n"))


def _list(title: str, items: Any) -> list[str]:
    if not items:
        return []
    shown = [f"- {_text(item)}\n" for item in items[:ITEMS_MAX]]
    if len(items) > ITEMS_MAX:
        shown.append(f"- and {len(items) - ITEMS_MAX} more\n")
    return [f"\n{title}:\n\n", *shown]


def _text(value: object) -> str:
    return str(value).translate(_MARKUP)
