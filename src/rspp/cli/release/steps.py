"""The steps of a release: what each must have done before the next one may begin.

    lint > compile > replay > gates > approval > publish > canary > observe > promote > report
                                                            `- begin, where nothing of the pipeline is served yet

Each is one step of the manifest. It passes when its engine ran, when its validator has read what the engine wrote, and when
its reports are there. Where a step finds nothing to do it says so, and why: that it looked is what it proves.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from rspp.cli.release.settings import Settings
from rspp.manifest.document import VAL_REPORT, Routing

WORK: Final = "PIPE.RELEASE"
DRIVER: Final = "ORC"  # who runs the engine
CHANGER: Final = "CTL"  # who asks the control plane
JUDGE: Final = "VAL"


class StepName(StrEnum):
    LINT = "lint"
    COMPILE = "compile"
    REPLAY = "replay"
    GATES = "gates"
    APPROVAL = "approval"
    PUBLISH = "publish"
    CANARY = "canary"
    OBSERVE = "observe"
    PROMOTE = "promote"
    REPORT = "report"
    ABORT = "abort"  # in no plan: somebody ends the release


class Step(msgspec.Struct, frozen=True, kw_only=True):
    name: StepName
    goal: str
    outputs: tuple[str, ...]
    changes: bool = False  # asks the control plane for a change

    @property
    def report(self) -> str:
        """The output that its engine writes first, whatever becomes of it."""
        return self.outputs[0]

    @property
    def engine(self) -> str:
        return f"KEY:ENG.RELEASE.{self.name.upper()}"

    @property
    def validator(self) -> str:
        return f"KEY:VAL.RELEASE.{self.name.upper()}"

    @property
    def roles(self) -> tuple[str, ...]:
        return (DRIVER, CHANGER, JUDGE) if self.changes else (DRIVER, JUDGE)


def _step(name: StepName, goal: str, *outputs: str, changes: bool = False) -> Step:
    return Step(name=name, goal=goal, outputs=(f"{name.upper()}_REPORT", *outputs), changes=changes)


STEPS: Final = {
    one.name: one
    for one in (
        _step(StepName.LINT, "the spec has no problem"),
        _step(StepName.COMPILE, "the spec compiles", "RESOLVED_SPEC"),
        _step(StepName.REPLAY, "the corpus decides and lasts as it did", "REPLAY_OUTCOME"),
        _step(StepName.GATES, "all seven gates pass", "GATE_REPORT"),
        _step(StepName.APPROVAL, "whoever must consent has consented"),
        _step(StepName.PUBLISH, "the version is published once", "ROLLBACK_POSTURE", changes=True),
        _step(StepName.CANARY, "a share of new sessions gets it", changes=True),
        _step(StepName.OBSERVE, "its sessions fare well", "OBSERVATION", changes=True),
        _step(StepName.PROMOTE, "every new session gets it", changes=True),
        _step(StepName.REPORT, "the ledgers say what the audit log says", "RELEASE"),
        _step(StepName.ABORT, "the release is given up", changes=True),
    )
}

# What contract 14 wants fresh when a version is published.
PROOFS: Final = (StepName.LINT, StepName.COMPILE, StepName.REPLAY, StepName.GATES)
# These look at the spec and the corpus as they are on the disk. What is published is in the registry, whatever becomes of the files.
ON_FILES: Final = frozenset({*PROOFS, StepName.APPROVAL, StepName.PUBLISH})


def plan(settings: Settings) -> tuple[Step, ...]:
    """The steps of this release, in order."""
    left_out = {StepName.ABORT, *((StepName.OBSERVE,) if settings.direct else ())}
    return tuple(step for name, step in STEPS.items() if name not in left_out)


def goal_of(step: Step, settings: Settings) -> str:
    return f"{step.name}: {settings.ref}: {step.goal}"


def step_in(goal: str) -> Step | None:
    """The step that a goal of the manifest means; None for a goal that somebody else wrote."""
    word = goal.partition(":")[0]
    return next((step for name, step in STEPS.items() if name.value == word), None)


def routing(step: Step, guarded: Sequence[str]) -> Routing:
    """What this step must do; and what must not change meanwhile, where it rests on that."""
    return Routing(
        DOMAIN="SYS",
        ARTIFACT_TYPE="RELEASE",
        PROFILE_KEY="NONE",
        PIPE_SELECTED=WORK,
        REQUIRED_ROLES=step.roles,
        REQUIRED_ENG_KEYS=(step.engine,),
        REQUIRED_VAL_KEYS=(step.validator,),
        OUTPUT_CONTRACT=(*step.outputs, VAL_REPORT),
        NO_GO_LIST=tuple(guarded) if step.name in PROOFS or step.name is StepName.PUBLISH else (),
    )
