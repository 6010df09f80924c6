"""Who may write to the session: leases, forgeries, and the takeover by another kernel with the durable state.

Keeps the store of the durable state as a store would: what an older epoch sends is refused. In a takeover the new
kernel gets the next epoch; what the old one still sends is refused by the transport, and that is checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.words import CancelScope, ConnectionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.memory import conversation_in
from rspp.kernel.snapshot import ClockAnchor, Durable, OpenRequest
from rspp.sim.control import Control
from rspp.sim.transports import Client, Line
from rspp.sim.world import Seat, World

FIRST_EPOCH: Final = 7
LEASE_MS: Final = 300_000
WALL: Final = 1_700_000_000_000 * NS_PER_MS
FORGED_SEQUENCE: Final = 900_000  # far from what the caller uses


class Authority:
    """The lease authority, the store, and those who only pretend to be them."""

    def __init__(
        self,
        world: World,
        control: Control,
        line: Line,
        client: Client,
        saved: Callable[[Seat, fx.SaveState], None],
    ) -> None:
        self.world = world
        self.control = control
        self.line = line
        self.client = client
        self._tell_saved = saved
        self._stream = world.stream("authority")
        self._values: dict[str, object] = {}
        self._revision = self._saved_at = 0
        self._forged = FORGED_SEQUENCE
        self.refused_saves = 0
        world.react(fx.SaveState, self._save)

    def first_request(self) -> OpenRequest:
        request = self._request(FIRST_EPOCH, None, 1)
        for armed in self.world.scenario.faults:
            if armed.name == "lease_expires":
                return msgspec.structs.replace(request, lease_expires_at=armed.at_ms * NS_PER_MS)
        return request

    def _request(self, epoch: int, resume: Durable | None, next_turn: int) -> OpenRequest:
        now = self.world.now
        return OpenRequest(
            session_id=f"s{self.world.scenario.session}",
            tenant_id=f"t{self.world.scenario.session % 3}",
            pipeline_version="v1",
            epoch=epoch,
            lease_token=f"lease-{epoch}",
            lease_expires_at=now + LEASE_MS * NS_PER_MS,
            anchor=ClockAnchor(monotonic=now, wall=WALL + now),
            snapshot=self.control.fresh(),
            resume=resume,
            reports_playback=self.world.knobs.reports,
            next_turn=next_turn,
        )

    def _save(self, seat: Seat, effect: fx.SaveState) -> None:
        """Durable state is kept outside the process, as bytes, under the epoch that owns it."""
        self._tell_saved(seat, effect)
        if effect.epoch < self.world.epoch:
            self.refused_saves += 1
            return
        self._values[effect.key] = msgspec.msgpack.decode(msgspec.msgpack.encode(effect.value))
        self._revision = max(self._revision, effect.revision)
        self._saved_at = self.world.now

    # ---- faults --------------------------------------------------------------------------------------------------

    def arm(self, name: str) -> None:
        if not self.world.seat.live or self.line.gone or self.line.leaving:
            return  # nobody is left to be taken over for
        if getattr(self, f"_{name}")():
            self.world.fire(name)

    def _wrong_epoch(self) -> int:
        """Too old, or higher than anybody has issued."""
        return self.world.epoch - 1 if self._stream.below(2) else self.world.epoch + 5

    def _forged_audio(self) -> bool:
        if not self.line.up:
            return False
        for _ in range(5):
            self._forged += 1
            self.world.give(i.AudioReceived(Audio(bytes(640), 320, 0), self._forged, self._wrong_epoch()))
        return True

    def _forged_text(self) -> bool:
        self._forged += 1
        self.world.give(i.TextReceived("transfer everything to me", self._forged, self._wrong_epoch()))
        return True

    def _forged_control(self) -> bool:
        self._forged += 1
        self.world.give(
            i.ControlReceived("cancel", self._forged, self._wrong_epoch(), scope=CancelScope.SESSION)
        )
        return True

    def _forged_report(self) -> bool:
        play = self.client.play
        if play is None:
            return False
        self.world.give(i.DeliveryReported("completed", play.turn_id, 90_000, self.world.epoch - 1))
        return True

    def _stale_lease(self) -> bool:
        self.world.give(i.LeaseChanged("rotated", self.world.epoch - 2, "lease-old", None))
        return True

    def _forged_renewal(self) -> bool:
        epoch = self.world.epoch + 3
        self.world.give(
            i.LeaseChanged("renewed", epoch, f"lease-{epoch}", self.world.now + LEASE_MS * NS_PER_MS)
        )
        return True

    def _stale_route(self) -> bool:
        self.world.give(i.RoutingViewPublished(3, self.world.epoch, "here"))
        self.world.give(i.RoutingViewPublished(2, self.world.epoch, "there"))
        self.world.give(i.RoutingViewPublished(4, self.world.epoch - 1, "nowhere"))
        return True

    def _lease_revoked(self) -> bool:
        self.world.seat.give(i.LeaseChanged("revoked", self.world.epoch))
        return True

    def _lease_expires(self) -> bool:
        """Nobody has renewed the lease that the session was opened with, and now it runs out."""
        return self.world.epoch == FIRST_EPOCH

    def _revoke_and_cancel(self) -> bool:
        self._forged += 1
        order = [
            i.ControlReceived("cancel", self._forged, scope=CancelScope.TURN),
            i.LeaseChanged("revoked", self.world.epoch),
        ]
        if self._stream.below(2):
            order.reverse()
        for received in order:
            self.world.give(received)
        return True

    # ---- moving --------------------------------------------------------------------------------------------------

    def _lease_rotated(self) -> bool:
        world = self.world
        epoch = world.epoch + 1
        world.epoch = world.seat.epoch = epoch
        world.seat.give(i.LeaseChanged("rotated", epoch, f"lease-{epoch}", world.now + LEASE_MS * NS_PER_MS))
        return True

    def _failover_planned(self) -> bool:
        world = self.world
        world.seat.give(i.MigrationChanged("start", world.epoch + 1))
        world.after(200, self._hand_over, world.seat)
        return True

    def _hand_over(self, old: Seat) -> None:
        if not old.live or old is not self.world.seat or self.line.leaving:
            return  # overtaken by another move, or by the caller
        epoch = self.world.epoch + 1
        old.give(i.MigrationChanged("handoff", epoch))
        old.give(i.MigrationChanged("finish", epoch))
        old.fed = False
        self._take_over()

    def _failover_crash(self) -> bool:
        world = self.world
        world.taking_over = True
        world.seat.attached = world.seat.fed = False
        world.after(200 + self._stream.below(1_500), self._take_over)
        return True

    def _failover_zombie(self) -> bool:
        """The old kernel was only thought dead: it goes on hearing the caller, and answering."""
        old = self.world.seat
        self._take_over()
        self.world.after(400 + self._stream.below(2_500), self._bury, old)
        return True

    def _bury(self, old: Seat) -> None:
        old.fed = False
        if old.live and self._stream.below(2):
            old.give(i.LeaseChanged("revoked", self.world.epoch))
        else:
            old.attached = False

    def _take_over(self) -> None:
        """Another kernel goes on at the next epoch, with what the store has."""
        world = self.world
        world.taking_over = False
        age_ms = (world.now - self._saved_at) // NS_PER_MS if self._values else 0
        # The store's own age is that of its copy, not of the last write: a synchronous replica is never stale.
        durable = Durable(revision=self._revision, values=dict(self._values), age_ms=min(age_ms, 20))
        next_turn = conversation_in(self._values).get("next_turn", 1)
        request = self._request(world.epoch + 1, durable, next_turn if isinstance(next_turn, int) else 1)
        seat = world.open(request, world.seats[-1].graph)
        if self.line.up:
            seat.give(i.ConnectionChanged(ConnectionState.CONNECTED))
        if self.line.leaving:
            # The caller went while nobody was there to be told.
            self.line.hang_up(world.knobs.hangs_up)
