"""A disk on which the world ends between two steps, or in the middle of one; and work to do on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rspp.manifest import Manifest, form
from rspp.manifest.disk import RealDisk
from rspp.manifest.document import Ran, ResumeTarget, Routing, StepStatus
from rspp.manifest.updates import (
    Begun,
    EngineTold,
    RequirementMet,
    Resulted,
    Routed,
    StepBegun,
    Update,
)

PROSE = "# Work\r\n\r\nWhat we do here.  \r\n\r\n```yaml\r\n{}```\r\n\r\nEND."


class DiedError(BaseException):
    """The machine is off: nothing that would still be tidied up is."""


class DyingDisk(RealDisk):
    """Ends at the step of that number, from 0: before it, or with half of it done; and never does anything again."""

    def __init__(self, at: int | None = None, *, half: bool = False) -> None:
        self.steps: list[str] = []
        self._at = at
        self._half = half
        self.dying: Callable[[], None] = lambda: (
            None
        )  # what becomes of the lock: nobody unwinds in a dead process

    def _step(self, name: str) -> bool:
        """False when the world ends in this step, and only half of it may be done."""
        self.steps.append(name)
        if self._at is None or len(self.steps) <= self._at:
            return True
        self.dying()
        if self._half and len(self.steps) == self._at + 1:
            return False
        raise DiedError

    def open(self, path: Path, flags: int, mode: int) -> int:
        if not self._step(f"open {path.name}"):
            super().close(super().open(path, flags, mode))
            raise DiedError
        return super().open(path, flags, mode)

    def write(self, number: int, data: bytes) -> None:
        if not self._step("write"):
            super().write(number, data[: len(data) // 2])
            raise DiedError
        super().write(number, data)

    def cut(self, number: int, size: int) -> None:
        whole = self._step("cut")
        super().cut(number, size)
        if not whole:
            raise DiedError

    def sync(self, number: int) -> None:
        # Nothing is really synced: a process that dies loses nothing that it wrote.
        if not self._step("sync"):
            raise DiedError

    def rename(self, path: Path, to: Path) -> None:
        whole = self._step(f"rename {to.name}")
        super().rename(path, to)
        if not whole:
            raise DiedError

    def remove(self, path: Path) -> None:
        whole = self._step(f"remove {path.name}")
        super().remove(path)
        if not whole:
            raise DiedError

    def close(self, number: int) -> None:
        os.close(number)  # the system closes what a dead process had open


def script(folder: Path) -> tuple[Update, ...]:
    """One session, whose steps fail and are gone on with: an update of almost each kind."""
    (folder / "proof.txt").write_text("it was mended")
    ref = Manifest(folder / "any.yaml").ref("proof.txt")
    return (
        Begun(session="s-1"),
        StepBegun(goal="compile"),
        Routed(routing=Routing(REQUIRED_ENG_KEYS=("KEY:ENG.A",))),
        EngineTold(key="KEY:ENG.A", status=Ran.FAILED, notes="нет"),
        Resulted(
            status=StepStatus.FAIL,
            fail_code="broken",
            reasons=("it broke",),
            requirements=("mend it",),
            target=ResumeTarget(GOAL="again"),
        ),
        RequirementMet(requirement="1", ref=ref),
        StepBegun(goal="again", signal="го"),
        Resulted(status=StepStatus.STOP_GAP, requirements=("a key",)),
    )


def ground(folder: Path, name: str) -> Path:
    """Where the work is to be: nothing for YAML; for Markdown a file with prose and the blank instance."""
    folder.mkdir()
    path = folder / name
    if form.is_markdown(name):
        path.write_bytes(PROSE.format(form.blank().replace("\n", "\r\n")).encode())
    return path
