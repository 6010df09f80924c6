"""Where the work stood after a line of the trace, in the words of `telling`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rspp.manifest.document import Document, is_met
from rspp.manifest.states import State, state_of
from rspp.manifest.telling import WorkSnapshot
from rspp.manifest.trace import Folded, ms_of


def snapshots(steps: Iterable[Folded], folder: str, after: int = 0) -> Iterator[WorkSnapshot]:
    """One for each line behind that number; `steps` are those of the whole trace (`Trace.steps`)."""
    told = after
    for folded in steps:
        if folded.lines > told:
            told = folded.lines
            yield snapshot(folded, folder)


def snapshot(folded: Folded, folder: str) -> WorkSnapshot:
    """After the last line that was folded, of which there is one."""
    document, line = folded.document, folded.last
    assert line is not None
    step, routing, resume = document.CURRENT_STEP, document.ROUTING, document.RESUME
    state = state_of(document)
    return WorkSnapshot(
        id=document.SESSION.SESSION_ID,
        state=state,
        kind=routing.PIPE_SELECTED or routing.ARTIFACT_TYPE,
        step=step.STEP_ID,
        goal=step.STEP_GOAL,
        reason=_reason(document, state),
        author=line.by,
        since_ms=folded.since_ms,
        line=line.n,
        trace=folded.digest,
        begun=folded.begun,
        begun_at_ms=folded.begun_at_ms,
        what=line.what,
        steps=len(folded.steps),
        steps_done=folded.steps_passed,
        updated_at_ms=ms_of(line.at),
        routing=routing,
        ledgers=document.LEDGERS,
        requirements=resume.RESUME_REQUIREMENTS,
        resume_allowed=resume.RESUME_ALLOWED,
        target=resume.RESUME_TARGET,
        folder=folder,
        result=msgspec.to_builtins(document.LAST_RESULT),
    )


def _reason(document: Document, state: State) -> str:
    """Why nothing runs, in one line."""
    if state == "waiting":
        target = document.RESUME.RESUME_TARGET
        return f"the signal, to go on with {target.GOAL or target.FILE or 'the next step'}"
    if state in ("stopped", "failed"):
        unmet = (one for one in document.RESUME.RESUME_REQUIREMENTS if not is_met(one))
        return next(iter(document.LAST_RESULT.FAIL_REASONS), None) or next(unmet, "")
    return ""
