"""Nothing enters a session unchecked: schema, size, order, duplicates, authority; each refusal says why.

What passes becomes an `Event` with its runtime sequence. Audio that comes out of order is held for a few frames and
put in order; a gap that stays is announced as a discontinuity, and so is a stream that counts from anew. Keeps INV-11's ingress half and INV-13; knows no graph.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract import emitters
from rspp.contract.codes import CODES
from rspp.contract.decisions import OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import Audio, Event, Payload, Sync
from rspp.contract.signals import SignalName
from rspp.contract.words import Codec, EventKind, PayloadClass, UnknownEventAction
from rspp.kernel.authority import Authority
from rspp.kernel.desk import Desk
from rspp.kernel.identity import KeyBook
from rspp.kernel.inputs import (
    AudioReceived,
    ControlReceived,
    MalformedReceived,
    TextReceived,
    UnknownReceived,
)
from rspp.spec.graph import Role

RATES: Final = frozenset((8_000, 16_000, 24_000, 48_000))
CODECS: Final = frozenset(Codec)
# A frame older than this is no straggler (5 s of 20 ms frames): the sender has restarted its count, or it wrapped.
RESTART_WINDOW: Final = 256
REPEATS_APART_NS: Final = 1_000_000_000  # repeated frames closer together than this are of one run
AUDIO, AUDIO_RAW = EventKind.AUDIO, PayloadClass.AUDIO_RAW


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """What is wrong with an input: code, where, and in words."""

    code: str
    path: str
    message: str


def check_audio(audio: Audio, bytes_max: int) -> Refusal | None:
    """A chunk says its codec, rate and channels, counts its samples from the stream's start, and has a size."""
    if audio.rate not in RATES:
        return Refusal("audio_rate_unsupported", "audio.rate", f"{audio.rate} Hz; use one of {sorted(RATES)}")
    if audio.codec not in CODECS:
        return Refusal("audio_codec_unsupported", "audio.codec", "use pcm16, opus, pcmu or mulaw")
    if not 1 <= audio.channels <= 2:
        return Refusal("audio_channels_unsupported", "audio.channels", "use one or two channels")
    if audio.sample_index < 0:
        return Refusal("media_time_missing", "audio.sample_index", "count samples from the stream's start")
    if audio.samples < 1 and not audio.end:
        return Refusal("audio_empty", "audio.samples", "a chunk has at least one sample")
    if audio.codec is Codec.PCM16 and audio.data and len(audio.data) != 2 * audio.samples * audio.channels:
        return Refusal("audio_size_mismatch", "audio.data", "pcm16 has two bytes a sample and channel")
    if len(audio.data) > bytes_max:
        return Refusal("payload_too_large", "audio.data", f"at most {bytes_max} bytes a chunk")
    return None


class Gateway:
    """The one way in."""

    __slots__ = (
        "_authority",
        "_bytes_max",
        "_desk",
        "_held",
        "_next_audio",
        "_places",
        "_repeated_at",
        "_restarts",
        "_source",
        "_wait",
        "duplicates",
        "gaps",
        "keys",
        "refused",
    )

    def __init__(self, desk: Desk, authority: Authority) -> None:
        limits = desk.policies.limits
        self._desk = desk
        self._authority = authority
        self._source = next((node.id for node in desk.graph.nodes if node.role is Role.SOURCE), None)
        self._bytes_max = limits.payload_bytes_max
        self._wait = limits.reorder_wait_frames
        self._next_audio: int | None = None
        self._held: dict[int, AudioReceived] = {}  # bounded: by reorder_wait_frames
        self._repeated_at: int | None = None
        self._restarts = 0
        # The caller's keys go with the session wherever it moves; places in a connection's count end with it.
        self.keys = self._book()
        self._places = self._book()
        self.refused = self.duplicates = self.gaps = 0

    def _book(self) -> KeyBook:
        limits = self._desk.policies.limits
        return KeyBook(limits.dedupe_keys_max, limits.dedupe_window_ms * 1_000_000)

    # ---- audio ---------------------------------------------------------------------------------------------------

    def audio(self, received: AudioReceived) -> Event | None:
        """The event of a frame that is next in order; anything else is held, dropped or refused."""
        audio = received.audio
        authority = self._authority
        if received.epoch is not None and received.epoch != authority.epoch:
            self.stale(received.epoch)
            return None
        # The common frame passes in one look; whatever differs from it in anything is examined.
        usual = (
            audio.rate == 16_000 and audio.codec is Codec.PCM16 and audio.channels == 1 and audio.samples > 0
        )
        size = len(audio.data)
        if not usual or audio.sample_index < 0 or size != 2 * audio.samples or size > self._bytes_max:
            refusal = check_audio(audio, self._bytes_max)
            if refusal is not None:
                self.refuse(refusal)
                return None
        sequence = received.transport_sequence
        if sequence != self._next_audio and self._next_audio is not None:
            return self._out_of_order(received, sequence, self._next_audio)
        self._next_audio = sequence + 1
        return self._admit(audio, sequence)

    def _admit(self, audio: Audio, sequence: int) -> Event:
        desk = self._desk
        desk.sequence += 1
        return Event(
            desk.scope,
            AUDIO,
            desk.sequence,
            desk.now,
            audio,
            AUDIO_RAW,
            desk.fences.generation,
            None,
            None,
            None,
            sequence,
        )

    def _out_of_order(self, received: AudioReceived, sequence: int, expected: int) -> Event | None:
        if expected - sequence > RESTART_WINDOW:
            return self._restarted(received, sequence)
        if sequence < expected or sequence in self._held:
            self._repeated(sequence)
            return None
        self._held[sequence] = received
        if len(self._held) <= self._wait:
            return None
        # The missing frames are not coming: go on with what is here, and say that there is a hole.
        first = min(self._held)
        self.gaps += 1
        desk = self._desk
        desk.announce(
            SignalName.DISCONTINUITY,
            emitters.SYNC,
            reason="ingress_gap",
            sync=Sync(domain="caller.audio", discontinuity_id=f"gap-{self.gaps}"),
            missing=first - expected,
        )
        self._next_audio = first + 1
        return self._admit(self._held.pop(first).audio, first)

    def _restarted(self, received: AudioReceived, sequence: int) -> Event:
        """Go on from where the sender counts now: to it, what came before is over."""
        self._restarts += 1
        self._desk.announce(
            SignalName.DISCONTINUITY,
            emitters.SYNC,
            reason="stream_restarted",
            sync=Sync(domain="caller.audio", discontinuity_id=f"restart-{self._restarts}"),
            lost=len(self._held),
        )
        self._held.clear()
        self._next_audio = sequence + 1
        return self._admit(received.audio, sequence)

    def _repeated(self, sequence: int) -> None:
        """Count every frame that was here already; tell of each run of them once."""
        desk, last = self._desk, self._repeated_at
        self.duplicates += 1
        self._repeated_at = desk.now
        if last is None or desk.now - last >= REPEATS_APART_NS:
            desk.announce(
                SignalName.DUPLICATE_DROPPED,
                emitters.IDENTITY,
                reason="audio_sequence_seen",
                transport_sequence=sequence,
            )

    def next_held(self) -> Event | None:
        """A held frame whose turn has come."""
        if not self._held or self._next_audio is None:
            return None
        received = self._held.pop(self._next_audio, None)
        if received is None:
            return None
        self._next_audio += 1
        return self._admit(received.audio, self._next_audio - 1)

    def restart_stream(self) -> None:
        """A new connection counts from wherever it likes."""
        self._next_audio = None
        self._held.clear()
        self._places = self._book()

    # ---- everything else -----------------------------------------------------------------------------------------

    def accepts(self, received: TextReceived | ControlReceived | UnknownReceived) -> bool:
        """Authority, size and identity of an input that is not audio; a refusal has been announced when it says no."""
        if received.epoch is not None and received.epoch != self._authority.epoch:
            self.stale(received.epoch)
            return False
        if received.transport_sequence < 0:
            self.refuse(Refusal("schema_validation_error", "transport_sequence", "a sequence is 0 or more"))
            return False
        key = getattr(received, "idempotency_key", None)
        book = self.keys if key else self._places
        key = key or str(received.transport_sequence)
        if len(key) > 256:
            self.refuse(Refusal("payload_too_large", "idempotency_key", "at most 256 characters"))
            return False
        desk = self._desk
        first = book.register(desk.now, key, desk.sequence + 1)
        if first is not None:
            self.duplicates += 1
            desk.announce(
                SignalName.DUPLICATE_DROPPED, emitters.IDENTITY, reason="idempotency_key_seen", first=first
            )
            return False
        return True

    def text(self, received: TextReceived) -> bool:
        if len(received.text.encode(errors="replace")) > self._bytes_max:
            self.refuse(Refusal("payload_too_large", "text", f"at most {self._bytes_max} bytes"))
            return False
        return self.accepts(received)

    def event(self, kind: EventKind, payload: Payload, payload_class: PayloadClass, sequence: int) -> Event:
        event = self._desk.event(kind, payload, payload_class)
        return msgspec.structs.replace(event, transport_sequence=sequence)

    def unknown(self, received: UnknownReceived) -> bool:
        """An unknown kind is dropped, passed through or refused as configured, and never without a trace."""
        action = UnknownEventAction.REJECT if received.core else self._desk.policies.unknown_events
        self._desk.announce(
            SignalName.UNKNOWN_EVENT_HANDLED, emitters.GATEWAY, reason=action.value, kind=received.kind[:64]
        )
        if action is UnknownEventAction.REJECT:
            self.refuse(
                Refusal("event_kind_unknown", "event_kind", f"{received.kind[:64]!r} is not known here")
            )
        return action is UnknownEventAction.PASS_THROUGH

    def malformed(self, received: MalformedReceived) -> None:
        self.refuse(Refusal(received.code, received.path, received.message))

    # ---- refusals ------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> None:
        """An explicit outcome, with code and field path; the session goes on."""
        self.refused += 1
        self._desk.announce(
            SignalName.ABI_REJECTED,
            emitters.GATEWAY,
            reason="schema_validation_error",
            code=refusal.code,
            path=refusal.path,
            message=refusal.message,
            retryable=False,
            node_id=self._source,
        )

    def stale(self, carried: int, side: str = "ingress", turn_id: str | None = None) -> None:
        """Refuse what carries an epoch that was not issued."""
        mismatch = self._authority.check(carried)
        which = mismatch.side if mismatch else "stale"
        desk = self._desk
        event = desk.announce(
            SignalName.STALE_EPOCH_REJECT,
            emitters.AUTHORITY,
            reason="authority_epoch_mismatch",
            carried=carried,
            issued=self._authority.epoch,
            which=which,
            side=side,
            code="authority_epoch_mismatch",
            message=CODES["authority_epoch_mismatch"].meaning,
            retryable=False,
            node_id=self._source if side == "ingress" else None,
        )
        desk.decide(
            OutcomeKind.STALE_EPOCH_REJECT,
            Phase.SCHEDULING_POINT,
            OutcomeScope.EDGE_ENQUEUE if side == "ingress" else OutcomeScope.EDGE_DEQUEUE,
            emitters.AUTHORITY,
            "authority_epoch_mismatch",
            event.event_id,
            turn_id,
        )
