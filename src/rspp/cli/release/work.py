"""A release's manifest and its folder: what was said so far, and what is said next."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.release.progress import Attempt, Said, attempts
from rspp.cli.release.settings import Settings
from rspp.contract.errors import MisuseError
from rspp.manifest import Manifest, Tells
from rspp.manifest import updates as u
from rspp.manifest.document import Document
from rspp.manifest.manifest import DEFAULT_NAME
from rspp.manifest.refs import read_ref
from rspp.manifest.states import State, state_of
from rspp.manifest.trace import Trace
from rspp.timeline.regress import SUFFIX
from rspp.timeline.regress_rules import BASELINE, RULES

TRACE: Final = "TRACE"
# What of a corpus decides anything; other files beside it may come and go.
CORPUS_FILES: Final = (f"**/*{SUFFIX}", RULES, BASELINE)


class Work:
    """One release on the disk. Whoever changes it holds it."""

    def __init__(
        self,
        folder: Path,
        root: str,
        *,
        wall_ms: Callable[[], int],
        tells: Tells | None = None,
        take_over: bool = False,
    ) -> None:
        path = folder / DEFAULT_NAME
        self.manifest = Manifest(path, root=root, clock=wall_ms, tells=tells, take_over=take_over)
        self.folder = self.manifest.folder
        self._trace = Trace(self.folder / TRACE)
        self._said: list[Said] | None = None  # bounded: as the trace is

    @property
    def is_begun(self) -> bool:
        """Is there a manifest, or a trace that one can be made of again?"""
        return self.manifest.path.exists() or (self.folder / TRACE).exists()

    @property
    def document(self) -> Document:
        """As the trace has it: of an update that was cut short it knows before the file does."""
        return self._trace.folded().document

    @property
    def state(self) -> State:
        return state_of(self.document)

    @contextmanager
    def held(self, purpose: str) -> Iterator[None]:
        """Nobody else changes it meanwhile; who does already is named in the refusal."""
        with self.manifest.hold(purpose):
            self._said = None
            yield
        self._said = None

    def create(self, session: str) -> None:
        """A manifest for this session; one that is there already, or was cut short in being made, is left as it is."""
        if not self.is_begun or not list(self.manifest.trace()):
            self.manifest.say(u.Begun(session=session))

    # ---- what was said -----------------------------------------------------------------------------------------------

    def attempts(self) -> tuple[Attempt, ...]:
        """The steps so far, as the trace has them."""
        if self._said is None:
            self._said = list(_said(self.manifest))
        return attempts(self._said)

    def last(self) -> Attempt:
        found = self.attempts()
        if not found:
            raise MisuseError("release_unreadable", "no step of this release was begun")
        return found[-1]

    def files(self) -> dict[str, Path]:
        """The outputs of the present step, each with its file."""
        entries = self.document.LEDGERS.OUTPUT_LEDGER
        refs = {entry.output: read_ref(entry.ref) for entry in entries if entry.present}
        return {name: self.folder / ref.path for name, ref in refs.items() if ref is not None}

    # ---- what is said ------------------------------------------------------------------------------------------------

    def say(self, update: u.Any) -> Document:
        after = self.manifest.say(update)
        if self._said is not None:
            self._said.append(
                Said(at="", by=self.manifest.by, update=update, step=after.CURRENT_STEP.STEP_ID)
            )
        return after

    def begin(self, goal: str, *, file: str = "", by_signal: bool = False) -> None:
        """The next step, with the token that the last one has left; or by an operator's signal: refused while there is none."""
        token = "" if by_signal else self.document.RESUME.RESUME_TOKEN
        self.say(u.StepBegun(goal=goal, token=token, file=file))

    def ref(self, path: Path) -> str:
        return self.manifest.ref(path)

    def guarded(self, settings: Settings) -> tuple[str, ...]:
        """The spec and the corpus as patterns from the root, so far as they lie below it."""
        root = Path(settings.root)
        found = [_pattern(Path(settings.spec), root)]
        found += [_pattern(Path(settings.corpus), root, rest) for rest in CORPUS_FILES]
        return tuple(one for one in found if one)


def _pattern(path: Path, root: Path, rest: str = "") -> str:
    if not path.is_relative_to(root):
        return ""
    parts = [glob.escape(part) for part in path.relative_to(root).parts]
    return "/".join((".", *parts, *([rest] if rest else [])))


def root_of(spec: Path, corpus: Path) -> Path:
    """The folder below which the guarded files are looked for: theirs, and not half of the disk."""
    both = Path(os.path.commonpath([spec.parent, corpus]))
    return both if both in (spec.parent, spec.parent.parent) and both != both.parent else corpus


def _said(manifest: Manifest) -> Iterator[Said]:
    step = ""
    for line in manifest.trace():
        wrote: dict[str, Any] = line.wrote.get("CURRENT_STEP") or {}
        step = wrote.get("STEP_ID", step)
        yield Said(at=line.at, by=line.by, update=msgspec.convert(line.says, u.Any), step=step)
