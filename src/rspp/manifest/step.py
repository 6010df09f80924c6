"""A step of work, said to its manifest as it goes: `with manifest.step(...) as step:`.

An exception inside records FAIL and goes on up. So does leaving without a word about how the step ended: that is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import routes
from rspp.manifest.document import MET, Document, Ran, ResumeTarget, Routing, StepStatus
from rspp.manifest.refs import says_ref
from rspp.manifest.states import NOTHING_LEFT
from rspp.manifest.updates import EngineTold, OutputTold, Resulted, RoleTold, Routed, StepBegun

if TYPE_CHECKING:
    from rspp.manifest.manifest import Manifest

REASON_CHARACTERS_MAX: Final = 600  # of an exception: its requirement repeats it, and must fit its line
Route = Routing | Mapping[str, Any] | str | Path


class Told:
    """A role or an engine of a step: one of these three is said of it; said again, the last word counts."""

    def __init__(self, step: Step, kind: type[RoleTold | EngineTold], name: str) -> None:
        self._step = step
        self._kind = kind
        self._name = name

    def ran(self, outputs: Sequence[str | Path] = (), notes: str = "") -> None:
        """It ran, and left these: names of outputs, references, or files (a Path, or the name of one that is there)."""
        self._say(Ran.RAN, outputs, notes)

    def skipped(self, notes: str) -> None:
        self._say(Ran.SKIPPED, (), notes)

    def failed(self, notes: str, outputs: Sequence[str | Path] = ()) -> None:
        self._say(Ran.FAILED, outputs, notes)

    def _say(self, status: Ran, outputs: Sequence[str | Path], notes: str) -> None:
        if isinstance(outputs, str | Path):
            raise MisuseError("type_mismatch", "outputs is a list, and not one of them", "outputs")
        known = tuple(self._step.named(output) for output in outputs)
        notes = line_of(notes)
        if self._kind is RoleTold:
            self._step.say(RoleTold(role=self._name, status=status, outputs=known, notes=notes))
        else:
            self._step.say(EngineTold(key=self._name, status=status, outputs=known, notes=notes))


class Step:
    """What can be said while it runs; safe from several threads at once."""

    def __init__(self, manifest: Manifest, document: Document, target: ResumeTarget | None = None) -> None:
        self.id = document.CURRENT_STEP.STEP_ID
        self.session = document.SESSION.SESSION_ID
        self._manifest = manifest
        self._target = target or ResumeTarget(GOAL=NOTHING_LEFT)
        self._changed: dict[str, None] = {}
        self._turn = threading.Lock()
        self._over = False

    @property
    def is_over(self) -> bool:
        """True once it passed, failed or stopped."""
        return self._over

    def role(self, name: str) -> Told:
        return Told(self, RoleTold, name)

    def engine(self, key: str) -> Told:
        return Told(self, EngineTold, key)

    def output(self, name: str, path: str | Path | None = None, source: str = "") -> None:
        """An output is there, as this file; or, without one, it is expected and not there yet."""
        ref = "" if path is None else self._manifest.ref(path)
        self.say(OutputTold(output=name, ref=ref, source=source))

    def changed(self, *files: str | Path) -> None:
        """These files were changed by the step; its result says so."""
        with self._turn:
            self._changed.update(dict.fromkeys(map(str, files)))

    def passed(
        self, *, target: ResumeTarget | None = None, patchset: str = "", next_pointer: str = ""
    ) -> Document:
        """The step ends in PASS; refused, with everything that is missing, unless it is proven (`Refused.missing`)."""
        return self._end(
            StepStatus.PASS, target=target or self._target, patchset=patchset, next_pointer=next_pointer
        )

    def failed(
        self, code: str, reasons: Sequence[str], fixes: Sequence[str] = (), requirements: Sequence[str] = ()
    ) -> Document:
        """The step ends in FAIL. Without requirements the fixes are what must be met, and without these the reasons."""
        required = tuple(requirements) or tuple(fixes) or tuple(f"Mend: {reason}" for reason in reasons)
        return self._end(
            StepStatus.FAIL, fail_code=code, reasons=tuple(reasons), fixes=tuple(fixes), requirements=required
        )

    def stopped(
        self, requirements: Sequence[str], *, code: str = "", reasons: Sequence[str] = ()
    ) -> Document:
        """The step ends in STOP_GAP: something is lacking, and it must be there before the next one."""
        return self._end(
            StepStatus.STOP_GAP, fail_code=code, reasons=tuple(reasons), requirements=tuple(requirements)
        )

    def route(self, route: Route) -> Document:
        """What the step must do; once, and before its ledgers."""
        return self.say(Routed(routing=routes.read(route, self._manifest.folder)))

    def say(self, update: RoleTold | EngineTold | OutputTold | Routed | Resulted) -> Document:
        """Any update of this step, and of no other."""
        if self._over:
            raise MisuseError("manifest_no_step_runs", f"step {self.id} is over: nothing more is said of it")
        return self._manifest.say(update, step=self.id)

    def named(self, output: str | Path) -> str:
        """What a ledger says of something produced: a reference where it is a file, else its name."""
        if isinstance(output, Path):
            return self._manifest.ref(output)
        if says_ref(output):
            return output
        document = self._manifest.document
        known = {
            *document.ROUTING.OUTPUT_CONTRACT,
            *(entry.output for entry in document.LEDGERS.OUTPUT_LEDGER),
        }
        is_file = output and output not in known and (self._manifest.folder / output).is_file()
        return self._manifest.ref(output) if is_file else output

    def _end(self, status: StepStatus, **said: Any) -> Document:
        with self._turn:
            changed = tuple(self._changed)
        document = self.say(Resulted(status=status, changed=changed, **said))
        self._over = True
        return document

    def broke(self, error: BaseException) -> None:
        """An exception ended it: FAIL, unless it was over. What cannot be recorded is noted at the exception."""
        if self._over:
            return
        code = error.code if isinstance(error, RsppError) else f"exception:{type(error).__name__}"
        missing = tuple(one.what for one in getattr(error, "missing", ()))
        reasons = tuple(map(_reason, missing)) or (_reason(f"{type(error).__name__}: {error}"),)
        fixes = tuple(_reason(one.fix) for one in getattr(error, "missing", ()))
        try:
            self.failed(code, reasons, tuple(dict.fromkeys(fixes)), (f"Mend: {reasons[0]}",))
        except RsppError as refusal:
            error.add_note(f"and FAIL of step {self.id} could not be recorded: {refusal}")


@contextmanager
def stepping(
    manifest: Manifest, begun: StepBegun, route: Route | None, target: ResumeTarget | None
) -> Iterator[Step]:
    """A step from its beginning to its end, under the lock."""
    routing = routes.read(route, manifest.folder) if route is not None else None
    with manifest.hold(f"a step: {begun.goal}"):
        step = Step(manifest, manifest.say(begun), target)
        with _ending(step):
            if routing is not None:
                step.route(routing)
            yield step


@contextmanager
def going_on(manifest: Manifest, target: ResumeTarget | None) -> Iterator[Step]:
    """A step that runs already, to its end, under the lock."""
    with manifest.hold("to go on with a step"):
        document = manifest.mended()
        if not document.CURRENT_STEP.STEP_ID or document.CURRENT_STEP.STEP_STATUS is not StepStatus.RUNNING:
            raise MisuseError("manifest_no_step_runs", "no step runs that could go on; begin the next one")
        step = Step(manifest, document, target)
        with _ending(step):
            yield step


@contextmanager
def _ending(step: Step) -> Iterator[None]:
    try:
        yield
        if not step.is_over:
            raise MisuseError(
                "manifest_step_unsaid",
                f"step {step.id} was left without a word about how it ended: say passed, failed or stopped",
            )
    except BaseException as error:
        step.broke(error)
        raise


def line_of(text: str) -> str:
    """A text on one line, as a manifest holds it."""
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()


def _reason(text: str) -> str:
    plain = line_of(text).replace(MET, " -> ").encode(errors="replace").decode()
    return plain if len(plain) <= REASON_CHARACTERS_MAX else plain[: REASON_CHARACTERS_MAX - 3] + "..."
