"""Where a session lives and under which epoch: leases, migrations, routing views, durable state that comes back.

When authority is lost the turn ends for that and the session drains: another process may already be answering. A
rotated lease is a new authority: what was begun under the old one ends. Keeps INV-11.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from rspp.contract import emitters
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, SessionState
from rspp.kernel.authority import Authority
from rspp.kernel.connection import Connection
from rspp.kernel.desk import Desk
from rspp.kernel.effects import RequestSnapshot
from rspp.kernel.flags import Flag
from rspp.kernel.gateway import Gateway
from rspp.kernel.inputs import DurableAttached, LeaseChanged, MigrationChanged, RoutingViewPublished
from rspp.kernel.lifecycle import SessionTrigger
from rspp.kernel.memory import Conversation, conversation_in
from rspp.kernel.snapshot import Durable
from rspp.kernel.state import State
from rspp.kernel.turn import Turn
from rspp.kernel.turns import Turns


class Owner(Protocol):
    """What this needs of the session."""

    turns: Turns
    gateway: Gateway
    memory: Conversation
    connection: Connection

    def turn(self) -> Turn | None: ...
    def turn_progressed(self) -> None: ...
    def rescoped(self) -> None: ...
    def save(self, key: str, value: object) -> None: ...
    def save_history(self) -> None: ...


class Placement:
    """One session's hold on its place."""

    def __init__(self, desk: Desk, authority: Authority, state: State, owner: Owner) -> None:
        self._desk = desk
        self._authority = authority
        self._state = state
        self._owner = owner
        self.migrating = False
        self._target = 0  # the epoch of the move in hand

    # ---- leases --------------------------------------------------------------------------------------------------

    def lease(self, change: LeaseChanged) -> None:
        """What the lease authority says; an epoch that is not newer, or not ours, changes nothing."""
        authority = self._authority
        if change.change == "renewed":
            if authority.renew(change.epoch, change.expires_at):
                self._outside(change)
                self._desk.arm("lease", authority.expires_at)
            else:
                self._refuse(change)
        elif change.change == "revoked":
            if authority.revoke(change.epoch):
                self._outside(change)
                self._lost("lease_deauthorized")
            else:
                self._refuse(change)
        elif change.change in ("issued", "rotated"):
            before = authority.epoch
            if not authority.issue(change.epoch, change.token, change.expires_at):
                self._refuse(change)
                return
            self._outside(change)
            self._taken(change, rotated=authority.epoch != before)
        else:
            self._refuse(change)

    def _outside(self, change: LeaseChanged) -> None:
        """The turn lives under what somebody else has decided."""
        turn = self._owner.turn()
        if turn is not None and Flag.OUTSIDE_DECISIONS_LISTED in self._desk.flags:
            turn.nondeterminism.note(f"lease/{change.change}/{change.epoch}", "other", "lease_changed")

    def _taken(self, change: LeaseChanged, *, rotated: bool) -> None:
        desk, authority = self._desk, self._authority
        desk.arm("lease", authority.expires_at)
        if rotated:
            # What was begun under the old epoch ends under it, before anything is begun under the new one.
            turn = self._owner.turn()
            again = turn is not None and not turn.speculative and turn.first_output_at is None
            if turn is not None:
                turn.superseded = again
            self._owner.turns.condition(AbortReason.AUTHORITY_LOSS, "lease_rotated")
            self._owner.turns.settle()
            desk.scope = msgspec.structs.replace(
                desk.scope, epoch=authority.epoch, lease_token=authority.token
            )
            self._state.rotate(authority.epoch)
            self._owner.rescoped()
            if turn is not None and again:
                # Nothing of it was heard: the same words are a new intent under the new authority.
                known = Flag.INGRESS_OF_UTTERANCE in desk.flags
                self._owner.turns.intend(
                    turn.intent.text,
                    utterance=turn.intent.utterance,
                    say=turn.intent.say,
                    key=turn.intent.key,
                    audio_ingress_at=turn.intent.audio_ingress_at if known else None,
                )
        name = SignalName.LEASE_ROTATED if rotated else SignalName.LEASE_ISSUED
        desk.announce(name, emitters.LEASE_AUTHORITY)

    def _refuse(self, change: LeaseChanged | MigrationChanged) -> None:
        which = "stale" if change.epoch < self._authority.epoch else "unissued"
        self._desk.announce(
            SignalName.STALE_EPOCH_REJECT,
            emitters.AUTHORITY,
            reason="lease_stale_epoch" if which == "stale" else "lease_invalid_input",
            carried=change.epoch,
            issued=self._authority.epoch,
            which=which,
            side="lease",
        )

    def expire(self) -> None:
        """The lease has run out: whoever holds it next may already be speaking."""
        if self._authority.expire(self._desk.now):
            self._lost("lease_expired")
        elif self._authority.held:
            self._desk.arm("lease", self._authority.expires_at)

    def _lost(self, reason: str) -> None:
        owner, desk = self._owner, self._desk
        owner.turns.condition(AbortReason.AUTHORITY_LOSS, reason)
        if owner.turn() is None:
            desk.announce(SignalName.DEAUTHORIZED_DRAIN, emitters.AUTHORITY, reason=reason)
        if owner.connection.state is SessionState.ACTIVE:
            owner.connection.end_reason = reason
            owner.connection.move(SessionTrigger.AUTHORITY_LOST)
        elif owner.connection.state is SessionState.CONNECTING:
            owner.connection.end_reason = reason
            owner.connection.move(SessionTrigger.REFUSED)
        owner.turn_progressed()

    # ---- migration and routing -----------------------------------------------------------------------------------

    def migration(self, change: MigrationChanged) -> None:
        """The session moves: until the move is finished this process owns it, afterwards it drains."""
        desk, owner = self._desk, self._owner
        if change.epoch < self._authority.epoch or (self.migrating and change.epoch != self._target):
            self._refuse(change)
        elif change.phase == "start":
            self.migrating, self._target = True, change.epoch
            desk.announce(SignalName.MIGRATION_START, emitters.ROUTING, target_epoch=change.epoch)
            owner.save_history()
            if Flag.KEYS_SAVED_WITH_TURNS not in desk.flags:
                owner.save("keys", owner.gateway.keys.export())
        elif change.phase == "handoff" and self.migrating:
            desk.announce(SignalName.SESSION_HANDOFF, emitters.ROUTING, target_epoch=change.epoch)
        elif change.phase == "failed" and self.migrating:
            self.migrating = False
        elif change.phase == "finish" and self.migrating:
            self.migrating = False
            desk.announce(SignalName.MIGRATION_FINISH, emitters.ROUTING, target_epoch=change.epoch)
            self._authority.revoke(self._authority.epoch)
            owner.turns.condition(AbortReason.AUTHORITY_LOSS, "migrated")
            if owner.connection.state is SessionState.ACTIVE:
                owner.connection.end_reason = "migrated"
                owner.connection.move(SessionTrigger.MIGRATION)
            owner.turn_progressed()

    def routing(self, view: RoutingViewPublished) -> None:
        refused = self._authority.route(view.version, view.epoch)
        if refused is not None:
            self._desk.announce(
                SignalName.STATE_REFUSED, emitters.STATE, reason=refused, version=view.version
            )
            self._desk.do(RequestSnapshot(refused))

    # ---- durable state -------------------------------------------------------------------------------------------

    def attached(self, received: DurableAttached) -> None:
        if received.epoch != self._authority.epoch:
            self._desk.announce(SignalName.STATE_REFUSED, emitters.STATE, reason="authority_epoch_mismatch")
            return
        self.attach(received.state)

    def attach(self, durable: Durable) -> None:
        """Go on where the last owner stopped; state that is too old is refused, and said so."""
        refused = self._state.reattach(durable, self._desk.policies.limits.durable_staleness_ms_max)
        if refused is not None:
            self._desk.announce(
                SignalName.STATE_REFUSED, emitters.STATE, reason=refused, age_ms=durable.age_ms
            )
            return
        values = conversation_in(durable.values)
        self._owner.memory.restore(values.get("history"))
        self._owner.turns.succeed(values.get("next_turn"))
        keys = values.get("keys")
        if isinstance(keys, dict):
            self._owner.gateway.keys.restore(self._known(keys))
        self._desk.announce(SignalName.STATE_ATTACHED, emitters.STATE, revision=durable.revision)

    def _known(self, keys: dict[object, object]) -> dict[str, tuple[int, int]]:
        """The keys of the last owner, whose clock is not ours: their window begins anew here."""
        return {
            str(key): (self._desk.now, seen[1])
            for key, seen in keys.items()
            if isinstance(seen, (list, tuple)) and len(seen) == 2 and isinstance(seen[1], int)
        }
