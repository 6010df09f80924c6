"""Gate 4: nothing of an epoch that is not the issued one got in or out.

Which epoch is issued, and until when, is followed here from the recorded inputs alone; what the kernel believed does not
count. Samples are trials: changes of authority, and everything that came or stood under a wrong epoch. A recording without
any proves nothing, and adds none.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rspp.contract.words import SessionState
from rspp.kernel import inputs as i
from rspp.kernel.trace import Item
from rspp.timeline.gates.facts import sees_outputs
from rspp.timeline.gates.report import Violation
from rspp.timeline.recording import Recording

# Inputs that carry an epoch from outside. A lease is no output: one that is stale is refused by the same signal.
_CARRIERS: Final = (i.AudioReceived, i.TextReceived, i.ControlReceived, i.UnknownReceived, i.DeliveryReported)
# What the kernel says when it lets an input be; without one of these it was taken.
_REFUSALS: Final = frozenset(
    {"stale_epoch_reject", "abi_rejected", "duplicate_dropped", "late_event_decided", "output_refused"}
)
_CHANGES: Final = frozenset({"lease_rotated", "migration_finish", "deauthorized_drain"})


class Trials(msgspec.Struct):
    """What was tried against one session's authority, and what got through."""

    changes: int = 0
    refused_in: int = 0
    refused_out: int = 0
    refused_leases: int = 0
    accepted: int = 0
    violations: list[Violation] = []

    @property
    def tried(self) -> int:
        return self.changes + self.refused_in + self.refused_out + self.refused_leases + self.accepted


class _Issued:
    """The epoch that may write, by what the lease authority said."""

    def __init__(self, recording: Recording) -> None:
        request = recording.head.request
        self.epoch = request.epoch
        self.expires_at = request.lease_expires_at
        self.revoked = False
        self._moving_to: int | None = None

    def take(self, received: i.Input) -> None:
        if isinstance(received, i.LeaseChanged):
            self._lease(received)
        elif isinstance(received, i.MigrationChanged) and received.epoch >= self.epoch:
            self._migration(received)

    def _lease(self, change: i.LeaseChanged) -> None:
        given = change.change in ("issued", "rotated")
        until = self.expires_at if change.expires_at is None else change.expires_at
        if given and change.epoch > self.epoch:
            self.epoch, self.expires_at, self.revoked = change.epoch, until, False
        elif given and change.epoch == self.epoch and not self.revoked:
            self.expires_at = until
        elif change.change == "renewed" and change.epoch == self.epoch and not self.revoked:
            self.expires_at = max(self.expires_at, change.expires_at or 0)
        elif change.change == "revoked" and change.epoch == self.epoch:
            self.revoked = True

    def _migration(self, change: i.MigrationChanged) -> None:
        if change.phase == "start" and self._moving_to is None:
            self._moving_to = change.epoch
        elif change.epoch == self._moving_to and change.phase in ("failed", "finish"):
            self._moving_to = None
            self.revoked = self.revoked or change.phase == "finish"

    def held(self, at: int) -> bool:
        return not self.revoked and at < self.expires_at


class _Sent(msgspec.Struct, frozen=True):
    step: int
    at: int
    epoch: int | None
    turn: str | None


def trials(recording: Recording) -> Trials:
    """Everything that concerned one session's authority, in order."""
    found = Trials(violations=[])
    items: dict[int, list[Item]] = {}
    for item in recording.items:
        items.setdefault(item.step, []).append(item)
    sent = _sent(recording)
    issued, active = _Issued(recording), False
    for step in sorted({*items, *recording.inputs, *sent}):
        _, received = recording.inputs.get(step, (0, None))
        if received is not None:
            issued.take(received)
        here = items.get(step, [])
        if received is not None:
            _came_in(found, recording, step, received, issued, here, active=active)
        for one in sent.get(step, ()):
            _went_out(found, recording, one, issued)
        for item in here:
            active = _noted(found, item, active=active)
    _judge_runs(found, recording)
    _evidence(found, recording)
    _unseen(found, recording)
    return found


def _noted(found: Trials, item: Item, *, active: bool) -> bool:
    """Count what the kernel refused; is the session active after this item?"""
    if item.what == "record" and item.name == "transition" and item.facts.get("machine") == "session":
        return item.facts.get("to_state") == SessionState.ACTIVE
    if item.what == "signal" and item.name == "stale_epoch_reject":
        side = (item.facts.get("detail") or {}).get("side")
        found.refused_in += side == "ingress"
        found.refused_out += side == "egress"
        found.refused_leases += side not in ("ingress", "egress")
    elif item.what == "signal" and item.name in _CHANGES:
        found.changes += 1
    return active


def _sent(recording: Recording) -> dict[int, list[_Sent]]:
    """What left, by step; audio frames are folded into runs, and are looked at by their turn's epoch afterwards."""
    found: dict[int, list[_Sent]] = {}
    for item in recording.items:
        if item.what == "send":
            found.setdefault(item.step, []).append(_Sent(item.step, item.at, item.epoch, item.turn))
    return found


def _came_in(
    found: Trials,
    recording: Recording,
    step: int,
    received: i.Input,
    issued: _Issued,
    here: list[Item],
    *,
    active: bool,
) -> None:
    epoch: Any = getattr(received, "epoch", None)
    if not isinstance(received, _CARRIERS) or epoch is None or epoch == issued.epoch or not active:
        return
    if any(item.what == "signal" and item.name in _REFUSALS for item in here):
        return
    what = f"input {step}, {type(received).__name__} of epoch {epoch}, was taken; issued was {issued.epoch}"
    _accept(found, recording, None, "ingress", what)


def _went_out(found: Trials, recording: Recording, one: _Sent, issued: _Issued) -> None:
    if one.epoch != issued.epoch:
        what = f"an output of epoch {one.epoch} left at input {one.step}; issued was {issued.epoch}"
        _accept(found, recording, one.turn, "egress", what)
    elif not issued.held(one.at):
        _accept(found, recording, one.turn, "egress", f"an output left at input {one.step}, without a lease")


def _judge_runs(found: Trials, recording: Recording) -> None:
    """Audio that went on under an epoch after another was issued, or after its own was withdrawn."""
    opened = {item.turn: item.epoch for item in recording.items if item.name == "turn_open"}
    ends, until = _reigns(recording)
    for run in recording.runs:
        epoch = opened.get(run.turn)
        if epoch is None:
            continue
        end = ends.get(epoch)
        if run.last_at >= until.get(epoch, run.last_at + 1):
            what = f"audio of epoch {epoch} left after its lease had run out"
            _accept(found, recording, run.turn, "egress", what)
        elif end is not None and (run.step >= end[0] or run.last_at > end[1]):
            what = f"audio of epoch {epoch} left at input {run.step} or after it; it was over at {end[0]}"
            _accept(found, recording, run.turn, "egress", what)


def _reigns(recording: Recording) -> tuple[dict[int, tuple[int, int]], dict[int, int]]:
    """When each epoch ceased to be in force: the input that ended it, and its time; and until when it was leased at most."""
    issued = _Issued(recording)
    ends: dict[int, tuple[int, int]] = {}
    until = {issued.epoch: issued.expires_at}
    for step, (at, received) in sorted(recording.inputs.items()):
        before, held = issued.epoch, issued.held(at)
        issued.take(received)
        if issued.epoch != before or (held and issued.revoked):
            ends.setdefault(before, (step, at))
        until[issued.epoch] = issued.expires_at
    return ends, until


def _evidence(found: Trials, recording: Recording) -> None:
    for evidence in recording.evidence.values():
        if evidence.accepted_stale_outputs:
            _accept(found, recording, evidence.turn_id, "accepted_stale_outputs", "the evidence says so")


def _unseen(found: Trials, recording: Recording) -> None:
    """Where authority was tried, outputs must be on record: what is not seen is not known to have been refused."""
    if not found.tried:
        return
    if not sees_outputs(recording) or not recording.inputs:
        what = "not recorded (level L0, or a gap), though authority was tried: nothing says they were refused"
        found.violations.append(Violation(recording.session_id, None, "outputs", what))


def _accept(found: Trials, recording: Recording, turn: str | None, anchor: str, what: str) -> None:
    found.accepted += 1
    found.violations.append(Violation(recording.session_id, turn, anchor, what))
