"""What can be said to a manifest. Each is one update: one line of the trace, one record of the journal.

An update has a place in the order of seven (`place`): within a step they come in that order, and none goes back.

    1 the step begins    2 it is routed    3 ledgers    4 to 7 its result: LAST_RESULT, PATCH_TRACKING, RESUME
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from rspp.manifest.document import Owner, Ran, ResumeTarget, Routing, StepStatus


class Update(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="what"):
    """The root of them; `what` is its name in the trace."""

    place: ClassVar[int] = 0


class Begun(Update, frozen=True, kw_only=True, tag="init"):
    """A session of work, out of the blank template."""

    session: str
    owner: Owner = Owner.USER
    mode: str = "REPO"


class StepBegun(Update, frozen=True, kw_only=True, tag="step"):
    """The next step, by the signal or by the last result's token; the first one of a session needs neither."""

    place: ClassVar[int] = 1
    goal: str
    signal: str = ""
    token: str = ""
    folder: str = ""
    file: str = ""
    step: str = ""  # a name that no step of this session had; else the next number


class Routed(Update, frozen=True, kw_only=True, tag="route"):
    """What the step must do; said once, also where nothing in particular is asked for. It opens the ledgers."""

    place: ClassVar[int] = 2
    routing: Routing


class RoleTold(Update, frozen=True, kw_only=True, tag="role"):
    """What became of a role. Each of `outputs` is a file, as PATH#sha256=HEX, or the name of an output of OUTPUT_LEDGER."""

    place: ClassVar[int] = 3
    role: str
    status: Ran
    outputs: tuple[str, ...] = ()
    notes: str = ""


class EngineTold(Update, frozen=True, kw_only=True, tag="engine"):
    """What became of an engine or a validator; `outputs` as for a role."""

    place: ClassVar[int] = 3
    key: str
    status: Ran
    outputs: tuple[str, ...] = ()
    notes: str = ""


class OutputTold(Update, frozen=True, kw_only=True, tag="output"):
    """An output that is there (`ref` names its file), or one that is expected and not there yet."""

    place: ClassVar[int] = 3
    output: str
    ref: str = ""
    source: str = ""


class Resulted(Update, frozen=True, kw_only=True, tag="result"):
    """How the step ended. PASS needs its proofs and a target with a GOAL, the others at least one requirement.

    `changed` names files from the manifest's folder, never from the disk's root.
    """

    place: ClassVar[int] = 4
    status: StepStatus
    fail_code: str = ""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    patchset: str = ""
    next_pointer: str = ""
    target: ResumeTarget = ResumeTarget()


class RequirementMet(Update, frozen=True, kw_only=True, tag="met"):
    """A requirement of the last result has been met; `ref` names the file that shows it."""

    place: ClassVar[int] = 7
    requirement: str  # its text, or its number from 1
    ref: str


Any = Begun | StepBegun | Routed | RoleTold | EngineTold | OutputTold | Resulted | RequirementMet
