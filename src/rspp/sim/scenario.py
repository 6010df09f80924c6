"""Everything that makes one simulated session what it is, drawn from a seed and a number: the same again, anywhere.

A `Scenario` is a plain value. What differs between two sessions stands in it: the graph's policies, what the caller
does, how fast everybody else is, and which faults are armed when.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec

from rspp.contract.plan import RecordingPolicy, SyncDropPolicy, Watermark, Watermarks
from rspp.contract.words import BufferStrategy, EventKind, RecordingLevel, SyncPolicy
from rspp.kernel.determinism import Stream
from rspp.sim.faults import FAULTS, chosen
from rspp.sim.script import Act, draw_script
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition

T = TypeVar("T")
APOLOGY: Final = "Sorry, something went wrong. Please say that again."
# What begins with the session has to be armed before it.
AT_START: Final = ("listener_slow", "sync_cut")
# A node's own misbehaviour follows from times alone, so that a recording shows it again.
IN_STEP: Final = ("node_raises", "node_wrong_event")
TIMED: Final = (*IN_STEP, "lease_expires")
# Something has just begun or ended: here two things meet most easily.
MOMENTS: Final = (
    "speech_started",
    "speech_stopped",
    "turn_open",
    "turn_confirmed",
    "turn_superseded",
    "playback_started",
    # Most of all here: a reply that is held has two ways to go on, and everybody is on one of them.
    *("playback_paused",) * 5,
    "playback_resumed",
    "playback_cancelled",
    "interruption_pending",
    "barge_in",
    "cancel",
    "commit",
    "abort",
    "close",
    "provider_error",
    "flow_xoff",
    "disconnected",
    "call_ended",
    "intent_queued",
    "defer",
)
NARROW_ITEMS: Final = 150
MAIN_CLASSES: Final = ("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8")


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers and choices of one session; times in milliseconds."""

    interruption: str
    overlap: str
    speculation: bool
    apology: bool
    degrade_tts: bool
    late_events: str
    recording_level: str
    synchronised: bool
    narrow: bool
    reports: bool
    network_ms: int
    stt_partial_ms: int
    stt_final_ms: int
    stt_endpoints: bool
    llm_first_ms: int
    llm_gap_ms: int
    llm_accepts: bool
    tts_first_ms: int
    tts_speed: int
    cancel_ack_ms: int
    evidence_ms: int
    hangs_up: str


class Armed(msgspec.Struct, frozen=True):
    """A fault, and when it is armed; with `on`, not before this signal, and `after_ms` later."""

    name: str
    at_ms: int
    on: str = ""
    after_ms: int = 0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One session, whole."""

    seed: int
    session: int
    wish: str  # the faults that were asked for, as they were written
    seconds: int
    knobs: Knobs
    script: tuple[Act, ...]
    faults: tuple[Armed, ...]

    @property
    def command(self) -> str:
        """The one command that runs this session again."""
        return f"rspp sim run --seed {self.seed} --session {self.session} --faults {self.wish}"


def draw(seed: int, session: int, wish: str = "all") -> Scenario:
    """The session of this number under this seed."""
    stream = Stream(seed, f"session/{session}")
    faults = _draw_faults(stream, session, wish)
    seconds = 15 + stream.below(26)
    armed = [_draw_armed(stream, name, seconds) for name in faults]
    return Scenario(
        seed=seed,
        session=session,
        wish=wish,
        seconds=seconds,
        knobs=_draw_knobs(stream, synchronised="sync_cut" in faults, narrow="tts_ignores_throttle" in faults),
        script=draw_script(stream, seconds),
        faults=tuple(sorted(armed, key=lambda one: (one.at_ms, one.name))),
    )


def _draw_armed(stream: Stream, name: str, seconds: int) -> Armed:
    """When a fault comes: somewhere in the session, or at one of its delicate moments."""
    if name in AT_START:
        return Armed(name, 0)
    if name in TIMED or stream.below(2):
        return Armed(name, 800 + stream.below(seconds * 700))
    return Armed(
        name, stream.below(seconds * 400), pick(stream, MOMENTS), pick(stream, (0, 0, 1, 5, 30, 120, 400))
    )


def _draw_faults(stream: Stream, session: int, wish: str) -> list[str]:
    """A main fault, whose class goes round with the session's number, and up to three beside it."""
    names = chosen(wish)
    if not names:
        return []
    main_class = MAIN_CLASSES[session % len(MAIN_CLASSES)]
    main = [name for name in names if FAULTS[name].failure_class == main_class] or list(names)
    drawn = [pick(stream, main)]
    for _ in range(stream.below(4)):
        other = pick(stream, names)
        # Two ends of one session hide each other.
        if other not in drawn and not (FAULTS[other].ends and any(FAULTS[name].ends for name in drawn)):
            drawn.append(other)
    return drawn


def pick(stream: Stream, choices: Any) -> Any:
    """One of a sequence."""
    return choices[stream.below(len(choices))]


def _draw_knobs(stream: Stream, *, synchronised: bool, narrow: bool) -> Knobs:
    return Knobs(
        interruption=pick(stream, ("pause_then_decide", "pause_then_decide", "speech", "words", "never")),
        overlap=pick(stream, ("preempt", "preempt", "queue", "refuse")),
        speculation=pick(stream, (True, True, False)),
        apology=pick(stream, (True, False)),
        degrade_tts=pick(stream, (True, False)),
        late_events=pick(stream, ("drop", "repropose", "diagnose")),
        recording_level=pick(stream, ("L0", "L1", "L2")),
        synchronised=synchronised,
        narrow=narrow,
        reports=pick(stream, (True, True, True, False)),
        network_ms=pick(stream, (5, 20, 40, 80)),
        stt_partial_ms=60 + stream.below(200),
        stt_final_ms=80 + stream.below(400),
        stt_endpoints=pick(stream, (True, False)),
        llm_first_ms=120 + stream.below(500),
        llm_gap_ms=15 + stream.below(60),
        llm_accepts=pick(stream, (True, False)),
        tts_first_ms=60 + stream.below(250),
        tts_speed=pick(stream, (2, 4, 8)),
        cancel_ack_ms=5 + stream.below(60),
        evidence_ms=pick(stream, (0, 1, 3, 10)),
        hangs_up=pick(stream, ("ends", "ends", "disconnects", "closed", "closed_at_once")),
    )


def graph_of(knobs: Knobs) -> GraphDefinition:
    """The compiled pipeline of a session."""
    return _graph(
        knobs.interruption,
        knobs.overlap,
        knobs.speculation,
        knobs.apology,
        knobs.degrade_tts,
        knobs.late_events,
        knobs.recording_level,
        knobs.synchronised,
        knobs.narrow,
    )


@lru_cache(maxsize=256)
def _graph(
    interruption: str,
    overlap: str,
    speculation: bool,
    apology: bool,
    degrade_tts: bool,
    late_events: str,
    level: str,
    synchronised: bool,
    narrow: bool,
) -> GraphDefinition:
    graph = _template(interruption, overlap, speculation, apology, degrade_tts, late_events)
    if level != "L0":
        graph = msgspec.structs.replace(graph, recording_policy=RecordingPolicy(level=RecordingLevel(level)))
    graph = _narrow(graph) if narrow else graph
    return _synchronised(graph) if synchronised else graph


@lru_cache(maxsize=256)
def _template(
    interruption: str, overlap: str, speculation: bool, apology: bool, degrade_tts: bool, late_events: str
) -> GraphDefinition:
    return voice_template(
        turn_taking={"interruption": interruption, "speculation": speculation},
        overlap=overlap,
        error_reply={"text": APOLOGY if apology else ""},
        degrade_on=["tts"] if degrade_tts else [],
        late_events=late_events,
    )


def _narrow(graph: GraphDefinition) -> GraphDefinition:
    """The same, with little room before the caller: a synthesiser that does not stop when told overflows it."""
    marks = Watermarks(queue_items=Watermark(high=120, low=60))
    edges = tuple(
        msgspec.structs.replace(
            edge,
            buffer=msgspec.structs.replace(
                edge.buffer, max_queue_items=NARROW_ITEMS, watermarks=marks, max_block_time_ms=250
            ),
        )
        if edge.target == "speaker" and EventKind.AUDIO in edge.kinds
        else edge
        for edge in graph.edges
    )
    return msgspec.structs.replace(graph, edges=edges)


def _synchronised(graph: GraphDefinition) -> GraphDefinition:
    """The same, with the caller's audio as a domain: what is lost of it is marked as a cut."""
    policy = SyncDropPolicy(policy=SyncPolicy.DROP_WITH_DISCONTINUITY, sync_domain="caller.audio")
    edges = tuple(
        msgspec.structs.replace(edge, buffer=msgspec.structs.replace(edge.buffer, sync_drop=policy))
        if edge.source == "caller" and edge.buffer.strategy is BufferStrategy.DROP
        else edge
        for edge in graph.edges
    )
    return msgspec.structs.replace(graph, edges=edges)
