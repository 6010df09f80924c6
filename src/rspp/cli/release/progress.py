"""How far a release has come is read from the trace of its manifest, and from nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from rspp.cli.release.steps import PROOFS, STEPS, Step, StepName, step_in
from rspp.manifest import updates as u
from rspp.manifest.document import StepStatus


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the trace: when, by whom, what was said, and the step that it left the manifest in."""

    at: str
    by: str
    update: u.Any
    step: str


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the manifest, with all that was said in it."""

    name: StepName
    number: str
    at: str
    by: str
    routed: bool = False
    engines: tuple[u.EngineTold, ...] = ()
    roles: tuple[u.RoleTold, ...] = ()
    outputs: tuple[u.OutputTold, ...] = ()
    result: u.Resulted | None = None
    ended_at: str = ""
    met: tuple[u.RequirementMet, ...] = ()

    @property
    def passed(self) -> bool:
        return self.result is not None and self.result.status is StepStatus.PASS

    @property
    def code(self) -> str:
        return "" if self.result is None else self.result.fail_code

    @property
    def all_met(self) -> bool:
        return self.result is not None and len(self.met) >= len(self.result.requirements)

    def engine(self, key: str) -> u.EngineTold | None:
        return next((one for one in reversed(self.engines) if one.key == key), None)

    def role(self, name: str) -> u.RoleTold | None:
        return next((one for one in reversed(self.roles) if one.role == name), None)

    def ref(self, output: str) -> str:
        return next((one.ref for one in reversed(self.outputs) if one.output == output), "")


def attempts(lines: Iterable[Said]) -> tuple[Attempt, ...]:
    """The steps so far, oldest first. What somebody else did in its manifest is no step of a release."""
    found: list[Attempt] = []
    own = False
    for line in lines:
        if isinstance(line.update, u.StepBegun):
            step = step_in(line.update.goal)
            own = step is not None
            if step is not None:
                found.append(Attempt(name=step.name, number=line.step, at=line.at, by=line.by))
        elif own:
            found[-1] = msgspec.structs.replace(found[-1], **_with(found[-1], line))
    return tuple(found)


def _with(one: Attempt, line: Said) -> Mapping[str, Any]:
    update = line.update
    if isinstance(update, u.Routed):
        return {"routed": True}
    if isinstance(update, u.EngineTold):
        return {"engines": (*one.engines, update)}
    if isinstance(update, u.RoleTold):
        return {"roles": (*one.roles, update)}
    if isinstance(update, u.OutputTold):
        return {"outputs": (*one.outputs, update)}
    if isinstance(update, u.Resulted):
        return {"result": update, "ended_at": line.at}
    return {"met": (*one.met, update)} if isinstance(update, u.RequirementMet) else {}


def last(so_far: Sequence[Attempt], name: StepName) -> Attempt | None:
    """The latest attempt at this step."""
    return next((one for one in reversed(so_far) if one.name is name), None)


def passed(so_far: Sequence[Attempt], name: StepName) -> Attempt | None:
    """The latest attempt at this step that passed."""
    return next((one for one in reversed(so_far) if one.name is name and one.passed), None)


def running(so_far: Sequence[Attempt]) -> Attempt | None:
    """The step that was begun and has no result yet: this process's, or that of one that is gone."""
    return so_far[-1] if so_far and so_far[-1].result is None else None


def due(
    so_far: Sequence[Attempt], steps: Sequence[Step], stale: AbstractSet[StepName] = frozenset()
) -> Step | None:
    """The step that comes next; None where all have passed. A release that somebody gave up is only given up.

    `stale`: proofs that are too old. They are done again once an operator has asked for it, and not before.
    """
    refreshing = passed(so_far, StepName.PUBLISH) is None and any(
        one.code == "reports_stale" for one in so_far
    )
    if last(so_far, StepName.ABORT) is not None:
        return STEPS[StepName.ABORT]
    for step in steps:
        again = refreshing and step.name in PROOFS and step.name in stale
        if passed(so_far, step.name) is None or again:
            return step
    return None
