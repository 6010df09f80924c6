"""The line between caller and kernel: frames go up, audio comes down and is played, reports go back, the line may fail.

`Uplink` carries the caller's frames, `Client` plays what it is sent in virtual real time and knows what was truly
heard, `Line` connects, stalls, drops and comes back. A network delay lies between the client and the kernel both ways.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.words import ConnectionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.sim.world import Seat, World

FRAME_NS: Final = 20 * NS_PER_MS
REPORT_MS: Final = 100


class Uplink:
    """The way of the caller's frames: straight, but for the moments in which a fault has it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.straight = True
        self._stream = world.stream("uplink")
        self._lose = self._double = 0
        self._swapped: i.AudioReceived | None = None
        self._swap = 0
        self._jitter_until = 0

    def arm(self, name: str) -> None:
        self.straight = False
        if name == "uplink_loss":
            self._lose = 5 + self._stream.below(30)
        elif name == "duplicate":
            self._double = 5 + self._stream.below(20)
        elif name == "reorder":
            self._swap = 2 + self._stream.below(8)
        elif name == "jitter":
            self._jitter_until = self.world.now + 2_000 * NS_PER_MS
        self.world.fire(name)

    def carry(self, frame: i.AudioReceived) -> None:
        """One frame, by whatever way is left to it."""
        world = self.world
        if self._lose:
            self._lose -= 1
        elif self._swapped is not None:
            world.give(frame)
            world.give(self._swapped)
            self._swapped = None
        elif self._swap:
            self._swap -= 1
            self._swapped = frame
        elif world.now < self._jitter_until:
            world.after(self._stream.below(90), world.give, frame)
        else:
            world.give(frame)
            if self._double:
                self._double -= 1
                world.give(frame)
        self.straight = not (
            self._lose or self._double or self._swap or self._swapped or world.now < self._jitter_until
        )


class Playback:
    """One turn's audio at the client: what came, and how much of it has sounded."""

    __slots__ = (
        "complete",
        "ended",
        "first_at",
        "horizon",
        "paused_at",
        "permille",
        "seat",
        "segments",
        "sent",
        "stopped_at",
        "turn_id",
    )

    def __init__(self, seat: int, turn_id: str, permille: int, horizon: int) -> None:
        self.seat = seat
        self.turn_id = turn_id
        self.permille = permille  # the speed it is played at
        self.horizon = horizon  # when all that came will have sounded
        self.sent = 0
        self.first_at: int | None = None
        self.paused_at: int | None = None
        self.stopped_at: int | None = None
        self.ended = False  # the stream's end has come
        self.complete = False
        self.segments: list[tuple[str, int]] = []  # call, audio of it in ns

    def add(self, arrives: int, duration: int, call_id: str | None) -> None:
        if self.horizon < arrives and self.paused_at is None:
            self.horizon = arrives
        self.horizon += duration * 1000 // self.permille
        self.sent += duration
        if self.first_at is None:
            self.first_at = arrives
        call = call_id or ""
        if self.segments and self.segments[-1][0] == call:
            self.segments[-1] = (call, self.segments[-1][1] + duration)
        else:
            self.segments.append((call, duration))

    def heard(self, at: int) -> int:
        """How much has sounded by then."""
        if self.stopped_at is not None and self.stopped_at < at:
            at = self.stopped_at
        if self.paused_at is not None and self.paused_at < at:
            at = self.paused_at
        ahead = self.horizon - at
        return self.sent if ahead <= 0 else max(0, self.sent - ahead * self.permille // 1000)

    def pause(self, at: int) -> None:
        if self.paused_at is None and self.stopped_at is None:
            self.paused_at = at

    def resume(self, at: int) -> None:
        if self.paused_at is not None:
            if self.horizon > self.paused_at:
                self.horizon += at - self.paused_at
            self.paused_at = None

    def sounding(self, now: int) -> bool:
        if self.first_at is None or self.first_at > now:
            return False
        if self.paused_at is not None and self.paused_at <= now:
            return False
        return now < self.horizon and (self.stopped_at is None or now < self.stopped_at)


class Client:
    """The caller's device: plays, pauses, throws away, and reports what it has done."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.delay = world.knobs.network_ms * NS_PER_MS
        self.line: Line | None = None
        self.play: Playback | None = None
        self.plays: dict[str, Playback] = {}
        self.frames = self.refused = 0
        self.speaking_since = self.quiet_since = 0
        self._permille = 1000
        self._late = False
        self._mute_until = 0
        self._lies = False
        # A frame more than the lead: the last one may begin just inside it.
        self._lead_max = (world.lead_ms + 20) * NS_PER_MS
        self.trusts_no_lead = False  # a fault has told the kernel lies about what was played
        world.react(fx.Send, self.sent)
        world.react(fx.PausePlayback, self._pause)
        world.react(fx.ResumePlayback, self._resume)
        world.react(fx.StopPlayback, self._stop)

    def arm(self, name: str) -> None:
        if name == "slow_reader":
            self._permille = 800
        elif name == "late_reports":
            self._late = True
        elif name == "impossible_reports":
            self._lies = True
        elif name == "no_reports" and self.world.knobs.reports:
            self._mute_until = self.world.now + 3_000 * NS_PER_MS
            self.world.fire(name)

    def audible(self) -> bool:
        """Does the caller hear the assistant now?"""
        return self.play is not None and self.play.sounding(self.world.now)

    # ---- what it is told -----------------------------------------------------------------------------------------

    def sent(self, seat: Seat, effect: fx.Send) -> None:
        """Something was handed to the transport: it takes only what the present owner of the session sends."""
        event = effect.event
        if event.scope.epoch != self.world.epoch:
            self.refused += 1
            return
        if seat is not self.world.seats[-1]:
            seat.violated(
                "INV-11", "one_owner_speaks", f"output {event.event_id} of a former owner was accepted"
            )
        payload = event.payload
        if type(payload) is not Audio:
            return
        play = self.play
        if play is None or play.turn_id != event.scope.turn_id or play.seat != seat.number:
            play = self._begin(seat, event.scope.turn_id or "")
        if payload.end:
            play.ended = True
            return
        self.frames += 1
        arrives = self.world.now + self.delay
        if play.stopped_at is not None:
            seat.violated(
                "INV-09", "silence_after_stop", f"audio of {play.turn_id} was sent after it was stopped"
            )
        dry = arrives - play.horizon
        if dry > FRAME_NS and play.first_at is not None and play.paused_at is None:
            self._ran_dry(seat, play, dry, self.world.now - event.at)
        play.add(arrives, payload.samples * 1_000_000_000 // payload.rate, event.invocation_id)
        if play.horizon - arrives > self._lead_max and play.permille == 1000 and not self.trusts_no_lead:
            lead_ms = (play.horizon - arrives) // NS_PER_MS
            seat.violated(
                "INV-10", "lead_bounded", f"{lead_ms} ms of {play.turn_id} lie ahead in the client's buffer"
            )

    def _ran_dry(self, seat: Seat, play: Playback, dry: int, waited: int) -> None:
        """A caller hears no gap while audio lies ready in the kernel."""
        line = self.line
        disturbed = line is not None and line.disturbed_at + 2 * dry > self.world.now
        if waited > dry and play.permille == 1000 and not disturbed and not self.trusts_no_lead:
            seat.violated(
                "INV-07",
                "playback_does_not_starve",
                f"{dry // NS_PER_MS} ms of silence in {play.turn_id}, with audio ready",
            )

    def _begin(self, seat: Seat, turn_id: str) -> Playback:
        known = self.plays.get(turn_id)
        if known is not None and known.seat == seat.number:
            self.play = known
            return known
        if self._permille != 1000:
            self.world.fire("slow_reader")
        before = self.play
        horizon = before.horizon if before is not None and before.stopped_at is None else 0
        play = self.play = self.plays[turn_id] = Playback(seat.number, turn_id, self._permille, horizon)
        self._permille = 1000
        if self.world.knobs.reports:
            self.world.after(self.world.knobs.network_ms * 2, self._started, play)
        return play

    # What is told takes as long to arrive as the audio does, so it is done here at once, in the client's own time.

    def _pause(self, seat: Seat, effect: fx.PausePlayback) -> None:
        play = self.plays.get(effect.turn_id)
        if play is not None and seat is self.world.seat:
            play.pause(self.world.now + self.delay)

    def _resume(self, seat: Seat, effect: fx.ResumePlayback) -> None:
        play = self.plays.get(effect.turn_id)
        if play is not None and seat is self.world.seat:
            play.resume(self.world.now + self.delay)

    def _stop(self, seat: Seat, effect: fx.StopPlayback) -> None:
        play = self.plays.get(effect.turn_id)
        if play is None or play.stopped_at is not None or seat.epoch != self.world.epoch:
            return
        play.stopped_at = self.world.now + self.delay + effect.keep_ms * NS_PER_MS
        if self._late:
            self._late = False
            self.world.fire("late_reports")
            for number, what in enumerate(("accepted", "started", "position", "completed")):
                self.world.after(30 + 25 * number, self._report, play, what)

    # ---- what it says --------------------------------------------------------------------------------------------

    def _started(self, play: Playback) -> None:
        self._report(play, "accepted")
        self._report(play, "started")
        self.world.after(REPORT_MS, self._position, play)

    def _position(self, play: Playback) -> None:
        """Every tenth of a second while there is something to say; what was on its way when a stop came still comes."""
        now = self.world.now
        if play.complete or (play.stopped_at is not None and now - self.delay > play.stopped_at):
            return
        if play.ended and play.paused_at is None and now - self.delay >= play.horizon:
            play.complete = True
            self._report(play, "completed")
            return
        self._report(play, "position")
        if self.play is play:
            self.world.after(REPORT_MS, self._position, play)

    def _report(self, play: Playback, what: str) -> None:
        world = self.world
        if world.now < self._mute_until or (self.line is not None and not self.line.up):
            return
        heard_ms = play.heard(world.now - self.delay) // NS_PER_MS
        if self._lies and what == "position":
            self._lies = False
            world.fire("impossible_reports")
            heard_ms += 60_000
            self.trusts_no_lead = True
        world.give(i.DeliveryReported(what, play.turn_id, heard_ms))


class Line:
    """The connection's own life, told to the kernel as the transport would."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client
        client.line = self
        self.up = False
        self.gone = False
        self.leaving = False  # the caller is done, whether or not the line still stands
        self.disturbed_at = 0
        self._stream = world.stream("line")

    def connect(self) -> None:
        self._change(ConnectionState.CONNECTED)

    def arm(self, name: str) -> None:
        if self.gone:
            return
        world, stream = self.world, self._stream
        if name == "stall":
            self._away(ConnectionState.STALL, 300 + stream.below(3_000))
        elif name == "silence":
            self._away(ConnectionState.SILENCE, 300 + stream.below(2_000))
        elif name == "disconnect":
            self._away(ConnectionState.DISCONNECTED, 200 + stream.below(5_000))
        elif name == "disconnect_flap":
            for number in range(3):
                world.after(700 * number, self._away, ConnectionState.RECONNECTING, 200 + stream.below(300))
        elif name == "disconnect_for_good":
            self._change(ConnectionState.DISCONNECTED)
            self.gone = True
        elif name == "hang_up_mid_turn":
            self._hang_up_when_busy(world.now + 6_000 * NS_PER_MS)
            return
        world.fire(name)

    def _away(self, state: ConnectionState, ms: int) -> None:
        if not self.gone and self.up:
            self._change(state)
            self.world.after(ms, self._back)

    def _back(self) -> None:
        if not self.gone:
            self._change(ConnectionState.CONNECTED)

    def _hang_up_when_busy(self, until: int) -> None:
        if self.gone:
            return
        if self.client.audible() or self.world.now >= until:
            self.world.fire("hang_up_mid_turn")
            self.hang_up("ends")
            return
        self.world.after(60, self._hang_up_when_busy, until)

    def hang_up(self, how: str) -> None:
        """The caller is done: says goodbye, vanishes, or the host closes the session."""
        if self.gone:
            return
        self.leaving = True
        if how == "ends":
            self._change(ConnectionState.ENDED)
        elif how == "disconnects":
            self._change(ConnectionState.DISCONNECTED)
        else:
            self.world.give(i.CloseRequested("caller_done", drain=how == "closed"))
            return
        self.gone = True

    def _change(self, state: ConnectionState) -> None:
        self.disturbed_at = self.world.now
        self.up = state in (ConnectionState.CONNECTED, ConnectionState.SILENCE)
        self.world.give(i.ConnectionChanged(state))
