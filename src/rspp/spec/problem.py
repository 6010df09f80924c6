"""A problem says where it is, what is wrong and what to do about it; all of a spec's problems are reported at once.

Nothing in `rspp.spec` raises for a fault in what somebody wrote: it adds a `Problem` to the `Findings` and goes on,
so that one run shows everything there is to mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum

import msgspec

# A place in a spec: mapping keys and sequence indexes from the root down.
Path = tuple[str | int, ...]


class Severity(StrEnum):
    """An error refuses the spec; a warning refuses it in strict mode only."""

    ERROR = "error"
    WARNING = "warning"


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A position in a text, counted from 1 as editors do."""

    line: int
    column: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault; `code` is stable and may be relied on, the words may change."""

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: {self.severity}[{self.code}]"
        subject = f" {self.path}:" if self.path else ""
        return f"{where}{subject} {_sentence(self.message)}" + (
            f" {_sentence(self.hint)}" if self.hint else ""
        )


class SpecError(ValueError):
    """A spec was refused; it carries every problem, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Findings:
    """The problems found in one text. It knows where each path of that text was written."""

    def __init__(
        self,
        file: str,
        values: Mapping[Path, Mark] | None = None,
        keys: Mapping[Path, Mark] | None = None,
        subject: str = "",
    ) -> None:
        self.file = file
        # Put before every message: which layer or module is spoken of, when it is not the spec itself.
        self.subject = subject
        self.problems: list[Problem] = []
        self._values = values or {}
        self._keys = keys or {}

    def error(self, code: str, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self._add(Severity.ERROR, code, path, message, hint, at_key)

    def warning(self, code: str, path: Path, message: str, hint: str = "", *, at_key: bool = False) -> None:
        self._add(Severity.WARNING, code, path, message, hint, at_key)

    @property
    def failed(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def locate(self, path: Path, *, at_key: bool = False) -> Mark:
        """The position of a path, or of its nearest written ancestor: a missing field is shown at its parent."""
        if at_key and path in self._keys:
            return self._keys[path]
        while path and path not in self._values:
            path = path[:-1]
        return self._values.get(path, Mark(1, 1))

    def _add(self, severity: Severity, code: str, path: Path, message: str, hint: str, at_key: bool) -> None:
        mark = self.locate(path, at_key=at_key)
        self.problems.append(
            Problem(
                code=code,
                severity=severity,
                file=self.file,
                line=mark.line,
                column=mark.column,
                path=dotted(path),
                message=f"{self.subject}: {message}" if self.subject else message,
                hint=hint,
            )
        )


def _sentence(text: str) -> str:
    return text if text.endswith(("?", "!", ".")) else f"{text}."


def dotted(path: Path) -> str:
    """The written form of a path: `edges[3].buffer.strategy`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def shown(number: float) -> str:
    """A number as people write it: no exponent, no needless point."""
    return str(int(number)) if float(number).is_integer() else str(number)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, if one is near."""
    near = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or all of them when there are few and none is near."""
    choices = sorted(known)
    if near := nearest(word, choices):
        return near
    return f"Known here: {', '.join(choices)}" if 0 < len(choices) <= 20 else ""


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By place, then code, so that the same spec always prints the same report."""
    return tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column, p.code, p.path, p.message)))
