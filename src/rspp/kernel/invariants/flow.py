"""INV-05 to INV-08, INV-13, INV-15: order, bounds, deadlines, identity and the recording level, from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rspp.contract.event import NS_PER_MS, Audio, Event, Signal
from rspp.contract.signals import SIGNALS
from rspp.contract.words import Codec, EventKind, Lane
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.buffers import PARKED_MAX
from rspp.kernel.effects import LANE_OF_EFFECT
from rspp.kernel.invariants.view import Outstanding, View
from rspp.kernel.lifecycle import TurnTrigger
from rspp.spec.graph import Role

RANK: Final = {Lane.CONTROL: 0, Lane.DATA: 1, Lane.TELEMETRY: 2}
EFFECT_RANK: Final = {kind: RANK[LANE_OF_EFFECT.get(kind, Lane.CONTROL)] for kind in fx.AnyEffect.__args__}
TERMINAL: Final = (TurnTrigger.COMMIT.value, TurnTrigger.ABORT.value)
SLACK_NS: Final = 50 * NS_PER_MS
KEYS_MAX: Final = 4096
FOREIGN_WORDS: Final = ("sdp", "ice_candidate", "turn_server", "webrtc", "accuracy", "wer", "mos")


class OrderChecks:
    """INV-05 and INV-16's vocabulary: a batch of effects comes lane by lane, and only from the vocabulary."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._rank = 0

    def new_batch(self) -> None:
        self._rank = 0

    def saw(self, effect: fx.Effect) -> None:
        rank = EFFECT_RANK.get(type(effect))
        if rank is None:
            self._view.blame("INV-16", "effect_known", f"{type(effect).__name__} is not an effect")
        elif rank > self._rank:
            self._rank = rank
        elif rank < self._rank:
            self._back(effect, rank)

    def _back(self, effect: fx.Effect, rank: int) -> None:
        """An earlier lane again in one batch: only a terminal may wait for its own turn's data."""
        sealed = (
            self._rank == 1
            and isinstance(effect, fx.Record)
            and getattr(effect.entry, "trigger", None) in TERMINAL
        )
        if not sealed:
            self._view.blame(
                "INV-05", "lane_order", f"{type(effect).__name__} came after a later lane's effects"
            )
        self._rank = rank


class FlowChecks:
    """INV-06 to INV-08: edges and waits."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._saturated: dict[str, int] = {}
        self._xoff_due: str | None = None
        self._speaking_since: int | None = None
        self._voice_at = 0
        self._finals_at: int | None = None
        self._talking = False
        self._egress = self._egress_edge()
        self._uncounted: str | None = None
        self.on_input: Mapping[type, Callable[..., None]] = {
            i.SpeechScored: self._scored,
            i.CallProduced: self._produced,
            i.ControlReceived: self._control,
        }
        self.on_effect: Mapping[type, Callable[..., None]] = {
            fx.Send: self._sent,
            fx.Feed: self._fed,
            fx.Throttle: self._throttled,
        }
        self.on_signal: Mapping[str, Callable[[Event, Signal], None]] = {
            "watermark": self._watermark,
            "flow_xoff": self._xoff,
            "flow_xon": self._xon,
            "drop_notice": self._dropped,
            "speech_started": self._started,
            "speech_stopped": self._stopped,
            "end_of_utterance": self._stopped,
            "cancel": self._fenced,
            "abort": self._fenced,
            "commit": self._committed,
            "cap_reached": self._capped,
            "provider_error": self._answered,
        }

    def _egress_edge(self) -> Outstanding | None:
        graph = self._view.graph
        sinks = {node.id for node in graph.nodes if node.role is Role.SINK}
        for edge in graph.edges:
            if edge.target in sinks and EventKind.AUDIO in edge.kinds:
                return Outstanding(edge.buffer.max_queue_items + PARKED_MAX)
        return None

    # ---- bounds --------------------------------------------------------------------------------------------------

    def _produced(self, received: i.CallProduced) -> None:
        payload = received.payload
        call = self._view.calls.get(received.call_id)
        if call is not None and call.modality == "stt":
            # Words are a voice too, where nothing scores speech.
            self._voice_at = self._view.now
        if self._egress is None or not isinstance(payload, Audio) or call is None or call.modality != "tts":
            return
        if payload.samples < 1 or payload.rate < 1 or _miscounted(payload):
            return
        if (
            call.ended
            or call.cancel_sent_at is not None
            or received.attempt != call.attempt
            or not call.fresh
        ):
            return
        if call.turn_id == self._uncounted:
            return
        self._egress.items.append(payload.samples)

    def _sent(self, effect: fx.Send) -> None:
        payload = effect.event.payload
        if self._egress is not None and isinstance(payload, Audio) and payload.samples:
            self._egress.left(payload.samples)

    def _dropped(self, event: Event, signal: Signal) -> None:
        if signal.seq_range is None or signal.target_lane is None or event.edge_id is None:
            self._view.blame(
                "INV-08", "drop_accounted", f"a drop notice on {event.edge_id} does not say what it lost"
            )
        count = (signal.detail or {}).get("count")
        if self._egress is not None and event.edge_id and event.edge_id.endswith("speaker.audio"):
            for _ in range(count if isinstance(count, int) else 1):
                if self._egress.items:
                    self._egress.items.pop()

    def _fenced(self, event: Event, signal: Signal) -> None:
        if self._egress is None:
            return
        if event.scope.turn_id is not None:
            self._egress.items.clear()
        elif self._egress.items:
            # Of a node or a call: what was left of the chunk that was being sent is cut off with it, and is no drop.
            self._egress.items.popleft()

    def _capped(self, event: Event, signal: Signal) -> None:
        """What a cost cap cuts off never reaches the edge: from here on this turn's audio cannot be counted."""
        self._uncounted = event.scope.turn_id
        if self._egress is not None:
            self._egress.items.clear()

    def _committed(self, event: Event, signal: Signal) -> None:
        if self._egress is not None and self._egress.items:
            held = len(self._egress.items)
            self._view.blame(
                "INV-02", "commit_when_sent", f"{event.scope.turn_id} committed, {held} chunks never left"
            )
            self._egress.items.clear()

    def _fed(self, effect: fx.Feed) -> None:
        """Nothing leaves an edge that has waited longer than its bounds let it."""
        view, age = self._view, self._view.now - effect.event.at
        if age <= 0:
            return
        call = view.calls.get(effect.call_id)
        if call is None:
            return
        for edge in view.graph.edges:
            if edge.target == call.node_id and effect.event.kind in edge.kinds:
                bound = edge.buffer.max_latency_contribution_ms * NS_PER_MS
                if age > bound and effect.event.kind is EventKind.AUDIO:
                    view.blame(
                        "INV-06", "edge_latency", f"{edge.id} let an item through after {age // NS_PER_MS} ms"
                    )
                return

    # ---- watermarks ----------------------------------------------------------------------------------------------

    def _watermark(self, event: Event, signal: Signal) -> None:
        view, edge_id = self._view, event.edge_id or ""
        detail = signal.detail or {}
        rising = bool(detail.get("rising"))
        if rising and edge_id in self._saturated:
            view.blame("INV-08", "one_crossing", f"{edge_id} rose through its mark twice in one episode")
        if not rising and edge_id not in self._saturated:
            view.blame("INV-08", "one_crossing", f"{edge_id} fell to its mark without having risen")
        edge = next((edge for edge in view.graph.edges if edge.id == edge_id), None)
        depth = detail.get("depth")
        if edge is not None and isinstance(depth, int) and depth > edge.buffer.max_queue_items:
            view.blame(
                "INV-06", "edge_depth", f"{edge_id} holds {depth}, its bound is {edge.buffer.max_queue_items}"
            )
        if rising:
            self._saturated[edge_id] = view.now
        else:
            self._saturated.pop(edge_id, None)
        if edge is not None and edge.flow.value != "credit":
            self._xoff_due = edge_id if rising else None

    def _xoff(self, event: Event, signal: Signal) -> None:
        if event.edge_id != self._xoff_due:
            self._view.blame("INV-08", "xoff_of_watermark", f"{event.edge_id}: xoff without a crossing")
        self._xoff_due = None

    def _xon(self, event: Event, signal: Signal) -> None:
        if event.edge_id in self._saturated:
            self._view.blame("INV-08", "xon_after_fall", f"{event.edge_id}: xon while still above its mark")

    def _throttled(self, effect: fx.Throttle) -> None:
        call = self._view.calls.get(effect.call_id)
        if call is not None:
            call.throttled = effect.on
            call.waiting_since = self._view.now

    def batch_over(self) -> None:
        if self._xoff_due is not None:
            self._view.blame(
                "INV-08", "watermark_acts", f"{self._xoff_due} crossed its mark and nobody was told to stop"
            )
            self._xoff_due = None
        if self._egress is not None and len(self._egress.items) > self._egress.limit:
            held, limit = len(self._egress.items), self._egress.limit
            self._view.blame(
                "INV-06", "edge_bounded", f"the edge to the caller holds {held} items, its bound is {limit}"
            )
            self._egress.items.clear()

    # ---- waits ---------------------------------------------------------------------------------------------------

    def _scored(self, received: i.SpeechScored) -> None:
        settings = self._view.graph.policies.turn_taking
        if received.probability >= settings.silence_threshold:
            self._voice_at = self._view.now

    def _control(self, received: i.ControlReceived) -> None:
        if received.signal == "talk_pressed":
            self._talking, self._voice_at = True, self._view.now
        elif received.signal == "talk_released":
            self._talking, self._voice_at = False, self._view.now

    def _started(self, event: Event, signal: Signal) -> None:
        self._speaking_since = self._voice_at = self._view.now

    def _stopped(self, event: Event, signal: Signal) -> None:
        self._speaking_since = None

    def _answered(self, event: Event, signal: Signal) -> None:
        call = self._view.calls.get(event.invocation_id or "")
        if call is not None:
            call.waiting_since = None

    def watch(self) -> None:
        """Has anything waited longer than its deadline?"""
        view = self._view
        if view.ended:
            return
        settings = view.graph.policies.turn_taking
        if self._speaking_since is not None and not self._talking:
            quiet = view.now - self._voice_at
            # A machine that hears no scores at all allows one longest pause to notice, and one to end.
            bound = (2 * settings.silence_ms_max + 4 * settings.onset_ms) * NS_PER_MS + SLACK_NS
            if quiet > bound:
                view.blame(
                    "INV-07",
                    "utterance_ends",
                    f"quiet for {quiet // NS_PER_MS} ms, the utterance is still open",
                )
                self._speaking_since = None
        self._watch_calls()

    def _watch_calls(self) -> None:
        view, policy = self._view, self._view.graph.policies.calls
        longest = max(policy.provider_timeout_ms, policy.progress_ms_max) * NS_PER_MS * 2 + SLACK_NS
        for call in view.calls.values():
            if call.ended or call.throttled or call.turn_id is None or call.waiting_since is None:
                continue
            if call.cancel_sent_at is None and view.now - call.waiting_since > longest:
                view.blame(
                    "INV-07", "call_progress", f"{call.id} has been silent and nothing was done about it"
                )
                call.waiting_since = None


class IdentityChecks:
    """INV-13 and the registry: who an event belongs to, in which order, whether it was counted once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._sequence = 0
        self._keys: dict[str, int] = {}
        self._repeat: str | None = None
        self._first: str | None = None  # the key that the input in hand brought for the first time
        self.on_input: Mapping[type, Callable[..., None]] = {
            i.TextReceived: self._keyed,
            i.ControlReceived: self._keyed,
        }
        self.on_effect: Mapping[type, Callable[..., None]] = {}
        self.on_signal: Mapping[str, Callable[[Event, Signal], None]] = {
            "duplicate_dropped": lambda event, signal: self._deduped(),
            "stale_epoch_reject": lambda event, signal: self._deduped(),
            "abi_rejected": lambda event, signal: self._refused(),
            "turn_open_proposed": self._proposed,
            "cancel": self._proposed,
        }

    def _keyed(self, received: i.TextReceived | i.ControlReceived) -> None:
        view = self._view
        key = received.idempotency_key
        self._repeat = self._first = None
        # An empty key names nothing.
        if not key or (received.epoch is not None and received.epoch != view.epoch):
            return
        window = view.graph.policies.limits.dedupe_window_ms * NS_PER_MS
        seen = self._keys.get(key)
        if seen is not None and view.now - seen < window:
            self._repeat = key
            return
        self._keys[key] = view.now
        self._first = key
        if len(self._keys) > KEYS_MAX:
            del self._keys[next(iter(self._keys))]

    def _refused(self) -> None:
        """What was refused for its form was not done: its key may come again."""
        self._repeat = None
        if self._first is not None:
            self._keys.pop(self._first, None)
            self._first = None

    def _deduped(self) -> None:
        self._repeat = None

    def _proposed(self, event: Event, signal: Signal) -> None:
        if self._repeat is not None:
            self._view.blame(
                "INV-13", "once_by_key", f"{self._repeat!r} came twice and was done twice ({signal.signal})"
            )
            self._repeat = None

    def new_batch(self) -> None:
        self._repeat = None

    def announced(self, event: Event, signal: Signal) -> None:
        """Every signal is registered, emitted by who may, whole, and of this session."""
        view, rule = self._view, SIGNALS.get(signal.signal)
        if rule is None:
            view.blame("INV-16", "signal_registered", f"{signal.signal!r} is not a signal")
            return
        if signal.emitted_by not in rule.emitters:
            view.blame("INV-13", "signal_emitter", f"{signal.signal} was emitted by {signal.emitted_by}")
        missing = [name for name in rule.requires if not _carries(event, signal, name)]
        if missing:
            view.blame("INV-13", "signal_whole", f"{signal.signal} lacks {', '.join(missing)}")
        scope, request = event.scope, view.request
        wanted = (request.session_id, request.tenant_id, request.pipeline_version)
        if (scope.session_id, scope.tenant_id, scope.pipeline_version) != wanted:
            view.blame(
                "INV-13", "correlated", f"{signal.signal} belongs to {scope.session_id}/{scope.tenant_id}"
            )
        if event.sequence <= self._sequence:
            view.blame(
                "INV-13",
                "sequence_rises",
                f"{signal.signal} has sequence {event.sequence} after {self._sequence}",
            )
        self._sequence = max(self._sequence, event.sequence)
        if event.at > view.now:
            view.blame("INV-13", "time_of_event", f"{signal.signal} is of a time that has not come")
        for name in signal.detail or ():
            if name in FOREIGN_WORDS:
                view.blame(
                    "INV-16",
                    "within_boundaries",
                    f"{signal.signal} speaks of {name}, which is not the runtime's",
                )


def _carries(event: Event, signal: Signal, name: str) -> bool:
    if name.startswith("detail."):
        return bool(signal.detail) and (signal.detail or {}).get(name[7:]) is not None
    if name == "turn_id":
        return event.scope.turn_id is not None
    if name == "edge_id":
        return event.edge_id is not None
    if name == "authority_epoch":
        return event.scope.epoch >= 0
    if name == "sync_domain":
        return event.sync is not None and event.sync.domain is not None
    if name == "discontinuity_id":
        return event.sync is not None and event.sync.discontinuity_id is not None
    return getattr(signal, name, None) is not None


class LevelChecks:
    """INV-15: the recording level's path."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._level = view.graph.recording_policy.level.value
        self._pressed: i.RecorderPressed | None = None
        self._fill_since: dict[str, int | None] = {"L2": None, "L1": None}
        self.on_input: Mapping[type, Callable[..., None]] = {i.RecorderPressed: self._press}
        self.on_effect: Mapping[type, Callable[..., None]] = {}
        self.on_signal: Mapping[str, Callable[[Event, Signal], None]] = {
            "recording_level_downgraded": self._down,
            "recording_level_restored": self._up,
        }

    def _press(self, pressed: i.RecorderPressed) -> None:
        self._pressed = pressed
        t = self._view.graph.policies.recording
        for level, mark in (("L2", t.l1_fill), ("L1", t.l0_fill)):
            if pressed.fill < mark:
                self._fill_since[level] = None
            elif self._fill_since[level] is None:
                self._fill_since[level] = self._view.now

    def _down(self, event: Event, signal: Signal) -> None:
        view, t = self._view, self._view.graph.policies.recording
        detail = signal.detail or {}
        old, new = str(detail.get("old")), str(detail.get("new"))
        if (old, new) not in (("L2", "L1"), ("L1", "L0")) or old != self._level:
            view.blame(
                "INV-15", "one_step_down", f"{self._level}: {old} -> {new} skips, or starts somewhere else"
            )
        lag = t.l1_lag_ms if old == "L2" else t.l0_lag_ms
        since = self._fill_since.get(old)
        held = since is not None and view.now - since >= t.fill_hold_ms * NS_PER_MS
        pressed = self._pressed
        if not held and (pressed is None or pressed.export_lag_ms < lag):
            view.blame(
                "INV-15",
                "down_for_a_reason",
                f"{old} -> {new} without the pressure that its threshold asks for",
            )
        self._level = new

    def _up(self, event: Event, signal: Signal) -> None:
        view, detail = self._view, signal.detail or {}
        old, new = str(detail.get("old")), str(detail.get("new"))
        if (old, new) not in (("L0", "L1"), ("L1", "L2")) or old != self._level:
            view.blame("INV-15", "one_step_up", f"{old} -> {new} skips, or starts somewhere else")
        if view.open_turn is not None:
            view.blame("INV-15", "up_between_turns", f"{old} -> {new} inside {view.open_turn.id}")
        self._level = new


def _miscounted(audio: Audio) -> bool:
    """Is it no chunk at all, for its bytes are not what it says? Such a one is refused, and never reaches an edge."""
    counted = audio.codec is Codec.PCM16 and audio.data
    return bool(counted) and len(audio.data) != 2 * audio.samples * audio.channels
