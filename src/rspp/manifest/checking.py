"""Everything that is wrong with a manifest as it lies there: the file, its trace, and what they say together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from rspp.contract.errors import LimitReached
from rspp.manifest import disk, form, tree
from rspp.manifest.combinations import impossible
from rspp.manifest.document import Document, StepStatus, changed, digest
from rspp.manifest.facts import World
from rspp.manifest.faults import Fault, ManifestError
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refused import Missing
from rspp.manifest.trace import Folded, Trace

RESTORE = "Take the change back, or `rspp manifest resume --restore`; then say what was really done"
CUT_SHORT = "manifest_cut_short"
TORN = "manifest_trace_torn"


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong (`faults`), and what PASS would lack now, or the one that is claimed lacks (`missing`).

    `ok`: nothing is wrong, and no PASS is claimed that is not proven.
    """

    faults: tuple[Fault, ...]
    missing: tuple[Missing, ...]
    ok: bool

    @property
    def unsettled(self) -> bool:
        """Whether it may only look wrong because somebody writes at this moment."""
        return any(fault.code in (CUT_SHORT, TORN) for fault in self.faults)


def checked(path: Path, trace: Path, world: World, *, now_ms: int) -> Validated:
    folded, trace_faults = _trace(trace)
    read = _read(path)
    faults = [*read.faults, *trace_faults]
    missing: tuple[Missing, ...] = ()
    claimed = False
    if read.document is not None:
        document = read.document
        faults += _impossible(document, read.root, path.name)
        if folded is not None and folded.fault is None:
            other = of_another(folded, path.name, trace.name)
            faults += [other] if other else _apart(document, folded, read.root, path.name, trace.name)
        claimed = bool(document.CURRENT_STEP.STEP_ID) and document.CURRENT_STEP.STEP_STATUS is StepStatus.PASS
        if document.CURRENT_STEP.STEP_ID:
            try:
                facts = world.facts(document, folded or Folded(), None, now_ms=now_ms, changelog="")
                missing = missing_for_pass(document, facts)
            except (LimitReached, ManifestError) as error:
                faults.append(
                    Fault(code=error.code, message=error.message, fix="Then validate again", file=path.name)
                )
    return Validated(faults=tuple(faults), missing=missing, ok=not faults and not (claimed and missing))


def of_another(folded: Folded, name: str, trace: str) -> Fault | None:
    """Two files whose names differ only in their ends would share one trace: it is the first one's."""
    if not folded.file or folded.file == name:
        return None
    return Fault(
        code="manifest_trace_other",
        message=f"{trace} is of {folded.file}, not of {name}",
        fix=f"Call it {folded.file} again, or give this one a folder or a name of its own",
        file=name,
    )


def _trace(path: Path) -> tuple[Folded | None, list[Fault]]:
    try:
        folded = Trace(path).folded()
    except ManifestError as error:
        return None, [
            Fault(code=error.code, message=error.message, fix="Put the trace in its place", file=path.name)
        ]
    faults = [folded.fault] if folded.fault is not None else []
    if folded.torn is not None:
        torn = folded.torn
        faults.append(
            Fault(
                code=TORN,
                message=f"line {torn.line} is torn: {torn.bytes} bytes without an end (sha256 {torn.sha256})",
                fix="Nothing it says is in the file; the next update cuts it, and says so in its own line",
                file=path.name,
                line=torn.line,
                column=1,
            )
        )
    return folded, faults


def _read(path: Path) -> form.Read:
    try:
        found = disk.read(path, form.FILE_BYTES_MAX)
    except ManifestError as error:
        fault = Fault(code=error.code, message=error.message, fix="Then validate again", file=path.name)
        return form.Read(document=None, faults=(fault,))
    if found is None:
        fault = Fault(
            code="manifest_missing",
            message="there is no such file",
            fix="`rspp manifest init` begins one; where there is a trace, `rspp manifest resume --restore` brings it back",
            file=path.name,
        )
        return form.Read(document=None, faults=(fault,))
    text = form.decode(found[0], path.name)
    if isinstance(text, Fault):
        return form.Read(document=None, faults=(text,))
    return form.read(text, path.name)


def _impossible(document: Document, root: tree.Mapping | None, name: str) -> Iterator[Fault]:
    for found in impossible(document):
        key = f"{found.section}.{found.key}" if found.key else found.section
        yield _at(root, key, "manifest_impossible", found.message, RESTORE, name)


def _apart(
    document: Document, folded: Folded, root: tree.Mapping | None, name: str, trace: str
) -> Iterator[Fault]:
    """The file against what the trace says that it is."""
    if not folded.lines:
        if document.SESSION.SESSION_ID:
            yield Fault(
                code="manifest_trace_missing",
                message=f"the session {document.SESSION.SESSION_ID} has no {trace}: nothing in it is proven",
                fix="Bring the trace back from a copy, or begin a new session",
                file=name,
            )
        return
    if digest(document) == folded.state:
        return
    if cut_short(document, folded):
        yield Fault(
            code=CUT_SHORT,
            message=f"line {folded.lines} of {trace} is not in the file yet: its update was cut short",
            fix="The next update completes it, and so does `rspp manifest resume --restore`",
            file=name,
        )
        return
    for section in changed(folded.document, document):
        message = f"{section} says what {trace} does not know: it was written by hand"
        yield _at(root, section, "manifest_hand_written", message, RESTORE, name)


def cut_short(document: Document, folded: Folded) -> bool:
    """Whether the file lacks exactly the last line's update."""
    now = digest(document)
    if not folded.lines or now == folded.state:
        return False
    return now == folded.state_before or (folded.lines == 1 and not document.SESSION.SESSION_ID)


def _at(root: tree.Mapping | None, key: str, code: str, message: str, fix: str, name: str) -> Fault:
    span = tree.place_of(root, key) if root is not None else None
    return Fault(
        code=code, message=message, fix=fix, file=name, key=key,
        line=span.line if span else 0, column=span.column if span else 0,
    )  # fmt: skip
