"""Where a run of work stands, in one word."""

from __future__ import annotations

from typing import Final, Literal

from rspp.manifest.document import Document, StepStatus

State = Literal["blank", "running", "waiting", "stopped", "failed", "done"]

# The GOAL of RESUME_TARGET that says that nothing is left to do.
NOTHING_LEFT: Final = "NONE"


def state_of(document: Document) -> State:
    """Blank: no step was begun. Waiting: the next step may begin, by the signal or a token. Done: nothing is left.

    A step that stopped or failed waits as well, once each of its requirements was met.
    """
    step = document.CURRENT_STEP
    if not step.STEP_ID:
        return "blank"
    if step.STEP_STATUS is StepStatus.RUNNING:
        return "running"
    if document.RESUME.RESUME_ALLOWED:
        left = document.RESUME.RESUME_TARGET.GOAL.strip().upper() != NOTHING_LEFT
        return "waiting" if left or step.STEP_STATUS is not StepStatus.PASS else "done"
    return "failed" if step.STEP_STATUS is StepStatus.FAIL else "stopped"


__all__ = ["NOTHING_LEFT", "State", "state_of"]
