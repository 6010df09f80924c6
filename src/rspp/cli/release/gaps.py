"""Why a release stands still, and what lets it go on: one row a code.

AGAIN    somebody has looked, and asks for another try by resuming
WHEN     something must have come true, which `resume` looks at
FLAG     an operator must decide, which a flag of `resume` says
OVER     this release ends here; another one begins
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Way(StrEnum):
    AGAIN = "again"
    WHEN = "when"
    FLAG = "flag"
    OVER = "over"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One way to stand still. `fails`: FAIL, and not STOP_GAP."""

    way: Way
    fails: bool
    next: str  # what a person does, `{ref}` being NAME@VERSION


RESUME: Final = "rspp release resume {ref}"

GAPS: Final = {
    "lint_failed": Gap(way=Way.AGAIN, fails=True, next="mend the spec and `rspp release run SPEC`"),
    "compile_failed": Gap(way=Way.AGAIN, fails=True, next="mend the spec and `rspp release run SPEC`"),
    "replay_failed": Gap(way=Way.AGAIN, fails=True, next=f"look at what diverged; `{RESUME}` tries again"),
    "gates_failed": Gap(
        way=Way.AGAIN, fails=True, next=f"look at the gate that failed; `{RESUME}` tries again"
    ),
    "unfit": Gap(
        way=Way.AGAIN, fails=True, next=f"make a new report with `rspp gates`; `{RESUME}` tries again"
    ),
    "spec_changed": Gap(
        way=Way.WHEN, fails=False, next=f"put the spec back and `{RESUME}`, or `rspp release run SPEC` anew"
    ),
    "reports_stale": Gap(way=Way.FLAG, fails=False, next=f"`{RESUME} --refresh` does those steps again"),
    "approval_waiting": Gap(way=Way.WHEN, fails=False, next=f"somebody else approves; then `{RESUME}`"),
    "approval_rejected": Gap(way=Way.OVER, fails=True, next="`rspp release abort {ref}`"),
    "version_taken": Gap(way=Way.OVER, fails=True, next="take a new version: another `version` in the spec"),
    "rollout_frozen": Gap(way=Way.WHEN, fails=False, next=f"when it is thawed: `{RESUME}`"),
    "rollout_taken": Gap(way=Way.WHEN, fails=False, next=f"when no other canary is out: `{RESUME}`"),
    "too_few_sessions": Gap(
        way=Way.FLAG,
        fails=False,
        next=f"`{RESUME} --observe-more 10m` watches on, `--min-sessions N` asks for fewer",
    ),
    "canary_unhealthy": Gap(way=Way.OVER, fails=True, next="mend it, and release it as a new version"),
    "canary_gone": Gap(way=Way.OVER, fails=True, next="find out who withdrew it; `rspp release abort {ref}`"),
    "ledger_mismatch": Gap(
        way=Way.AGAIN, fails=True, next=f"look at what differs; `{RESUME}` compares again"
    ),
    "interrupted": Gap(way=Way.AGAIN, fails=False, next=f"`{RESUME}` goes on"),
    "aborted": Gap(
        way=Way.OVER, fails=True, next="begin a new release; the version, if published, stays published"
    ),
    "control_unreachable": Gap(
        way=Way.AGAIN, fails=False, next=f"when the control plane answers: `{RESUME}`"
    ),
    "control_refused": Gap(way=Way.AGAIN, fails=True, next=f"see to what it said; `{RESUME}` asks again"),
    "engine_broken": Gap(
        way=Way.AGAIN, fails=True, next=f"a fault of RSPP's own: report it; `{RESUME}` tries again"
    ),
    "not_proven": Gap(way=Way.AGAIN, fails=True, next=f"look at what is missing; `{RESUME}` tries again"),
}


def gap_of(code: str) -> Gap:
    """The row of a code; of one that is not known here, that of a fault of our own."""
    return GAPS.get(code, GAPS["engine_broken"])


def next_of(code: str, ref: str) -> str:
    return gap_of(code).next.replace("{ref}", ref)


def is_over(code: str) -> bool:
    return gap_of(code).way is Way.OVER


__all__ = ["GAPS", "RESUME", "Gap", "Way", "gap_of", "is_over", "next_of"]
