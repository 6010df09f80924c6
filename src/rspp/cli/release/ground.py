"""What an engine of a release stands on, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rspp.cli.release.plane import Asks
from rspp.cli.release.progress import Attempt
from rspp.cli.release.reports import FOLDER, Change, write
from rspp.cli.release.settings import Settings
from rspp.cli.release.steps import Step
from rspp.cli.verify.engine import Found

WallMs = Callable[[], int]
Sleep = Callable[[float], None]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator said when this process was started, and only for it."""

    wait: bool = True  # for an observation to end
    refresh: bool = False
    observe_more_ms: int = 0
    reason: str = ""  # why it is given up
    sessions_min: int | None = None


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    settings: Settings
    folder: Path  # the release's
    step: Step
    number: str  # STEP_ID
    so_far: tuple[Attempt, ...]
    plane: Asks
    me: str  # the principal, as the control plane knows it
    wall_ms: WallMs
    sleep: Sleep
    say: Callable[[str], None]
    asked: Asked = Asked()
    taken_up: bool = False  # the step was begun by a process that is gone

    @property
    def is_unsure(self) -> bool:
        """Was something asked for here before, and nobody knows what came of it?"""
        before = (one for one in self.so_far if one.name is self.step.name)
        return self.taken_up or any(one.code == "control_unreachable" for one in before)

    def file(self, name: str, of: str = "") -> Path:
        """A file of this step, or of an earlier one, among the reports."""
        return self.folder / FOLDER / f"{of or self.number}-{name}"

    def put(self, name: str, data: bytes) -> Path:
        return write(self.file(name), data)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says. `verdict`: pass, fail, or gap where something is lacking, with the code of `gaps`."""

    verdict: str
    summary: str
    code: str = ""
    found: tuple[Found, ...] = ()
    facts: Mapping[str, Any] = {}
    changes: tuple[Change, ...] = ()
    requirements: tuple[str, ...] = ()
    outputs: Mapping[str, Path] = {}


class Stands(Exception):  # noqa: N818 - no error: the release stands still here
    """An engine cannot go on; what it says becomes the step's result."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.summary)
        self.outcome = outcome


def lacking(code: str, summary: str, requirement: str = "", **more: Any) -> Outcome:
    """Something that must be met first."""
    requirements = (requirement,) if requirement else ()
    return Outcome(verdict="gap", code=code, summary=summary, **({"requirements": requirements} | more))


def failing(code: str, summary: str, found: Sequence[Found] = (), **more: Any) -> Outcome:
    return Outcome(verdict="fail", code=code, summary=summary, found=tuple(found), **more)


def passing(summary: str, **more: Any) -> Outcome:
    return Outcome(verdict="pass", summary=summary, **more)
