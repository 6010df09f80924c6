"""A session in figures: its turns, tokens, characters and seconds, what each provider did and cost, how fast it was.

Counted from what was recorded, and from nothing else: where the inputs are not there (level L0) the turns' evidence speaks for
the providers, and what nobody recorded is null, not zero. A price is only ever the one in the given table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import missing_fields
from rspp.kernel import inputs as i
from rspp.timeline.gates.report import percentile
from rspp.timeline.prices import Cost, Prices, priced
from rspp.timeline.recording import Recording
from rspp.timeline.sense import check_items
from rspp.timeline.story import Story, told
from rspp.timeline.usage import Provider, by_evidence, used
from rspp.timeline.waterfall import STAGES, Marks, Waterfall, heard_ms, meant, watched, waterfalls

WHOLE: Final = "whole"

# ---- the summary -----------------------------------------------------------------------------------------------------


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """`opened` are those that people would count; `taken_back` were opened too early and never heard."""

    opened: int
    committed: int
    aborted: int
    aborted_by_reason: dict[str, int]
    unfinished: int
    interrupted: int
    taken_back: int
    evidence_complete: int


class Latency(msgspec.Struct, frozen=True):
    """Nearest rank; without a sample there is none."""

    samples: int
    p50_ms: float | None
    p95_ms: float | None


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of audio; null where the inputs are not recorded."""

    received_s: float | None
    sent_s: float | None
    heard_s: float


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """What this session gives the release gates: a span a turn, in milliseconds, from the turns' evidence."""

    open_decision_ms: list[float]
    first_output_ms: list[float]
    cancel_fence_ms: list[float]
    end_to_end_ms: list[float]
    evidence_complete: int
    accepted: int


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """How it was recorded, and what is missing."""

    level: str
    level_path: list[str]
    whole: bool
    gaps: int
    torn: bool
    withheld_texts: int
    withheld_audio: int
    inputs: int
    digest: str | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One session."""

    session_id: str
    tenant_id: str
    pipeline: str
    version: str
    profile: str
    opened_wall_ms: int
    duration_s: float
    ended: str | None
    turns: Turns
    audio: Seconds
    tokens: int | None
    characters_heard: int | None
    characters_spoken: int | None
    latencies: dict[str, Latency]
    providers: list[Provider]
    cost: Cost | None
    gates: Gates
    recorded: Recorded


class Looked(Protocol):
    """A recording that was looked through already."""

    @property
    def story(self) -> Story: ...
    @property
    def marks(self) -> Mapping[str, Marks]: ...
    @property
    def falls(self) -> Sequence[Waterfall]: ...


def summarise(recording: Recording, prices: Prices | None = None, *, seen: Looked | None = None) -> Summary:
    """The figures of one recording; raises CodecError for a trace that no kernel could have left. `seen`: what is known of it."""
    if seen is None:
        check_items(recording.items)
    story = told(recording) if seen is None else seen.story
    marks = watched(story) if seen is None else seen.marks
    falls = waterfalls(story, marks) if seen is None else seen.falls
    return _summed_up(recording, story, marks, falls, prices)


def _summed_up(
    recording: Recording,
    story: Story,
    marks: Mapping[str, Marks],
    falls: Iterable[Waterfall],
    prices: Prices | None,
) -> Summary:
    seen = bool(story.inputs)
    providers = used(story) if seen else by_evidence(recording)
    head = recording.head
    return Summary(
        session_id=head.session_id,
        tenant_id=head.tenant_id,
        pipeline=head.graph.pipeline,
        version=head.graph.version,
        profile=head.graph.profile,
        opened_wall_ms=head.opened_wall_ms,
        duration_s=round((recording.ended_at - story.began_at) / 1e9, 3),
        ended=recording.end.reason if recording.end else None,
        turns=_turns(recording, marks),
        audio=_audio(story, marks, seen=seen),
        tokens=_sum(one.tokens for one in providers) if seen else None,
        characters_heard=sum(len(one.text) for one in story.heard if one.final) if seen else None,
        characters_spoken=_sum(one.characters for one in providers if one.modality == "tts")
        if seen
        else None,
        latencies=_latencies(falls),
        providers=providers,
        cost=priced(providers, prices) if prices is not None else None,
        gates=_gates(recording),
        recorded=_recorded(recording, story),
    )


def _turns(recording: Recording, marks: Mapping[str, Marks]) -> Turns:
    counted = [turn for turn in marks.values() if meant(turn)]
    reasons = Counter(turn.reason or "none" for turn in counted if turn.terminal == "abort")
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}
    complete = {
        one.turn_id for one in recording.evidence.values() if not missing_fields(one, stamps.get(one.turn_id))
    }
    return Turns(
        opened=len(counted),
        committed=sum(turn.terminal == "commit" for turn in counted),
        aborted=sum(reasons.values()),
        aborted_by_reason=dict(sorted(reasons.items())),
        unfinished=sum(turn.terminal == "none" for turn in counted),
        interrupted=sum(turn.cut_at is not None for turn in counted),
        taken_back=len(marks) - len(counted),
        evidence_complete=sum(turn.turn_id in complete for turn in counted),
    )


def _audio(story: Story, marks: Mapping[str, Marks], *, seen: bool) -> Seconds:
    received = sum(
        one.audio.samples / one.audio.rate
        for _, one in story.inputs.values()
        if type(one) is i.AudioReceived and one.audio.rate
    )
    return Seconds(
        received_s=round(received, 3) if seen else None,
        sent_s=round(sum(run.samples / run.rate for run in story.runs if run.rate), 3) if seen else None,
        heard_s=round(sum(heard_ms(story, marks).values()) / 1000, 3),
    )


def _latencies(falls: Iterable[Waterfall]) -> dict[str, Latency]:
    samples: dict[str, list[int]] = {name: [] for name in (WHOLE, *STAGES)}
    for fall in falls:
        if fall.whole_ms is not None:
            samples[WHOLE].append(round(fall.whole_ms * NS_PER_MS))
        for stage, length in fall.stages_ms.items():
            samples[stage].append(round(length * NS_PER_MS))
    return {
        name: Latency(len(found), _ms(percentile(found, 0.5)), _ms(percentile(found, 0.95)))
        for name, found in samples.items()
    }


def _ms(value: int | None) -> float | None:
    return None if value is None else value / NS_PER_MS


def _sum(values: Iterable[int | None]) -> int | None:
    """Of those that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _gates(recording: Recording) -> Gates:
    turns = list(recording.evidence.values())
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}

    def spans(first: str, then: str) -> list[float]:
        pairs = ((getattr(one, first), getattr(one, then)) for one in turns)
        return [(later - earlier) / NS_PER_MS for earlier, later in pairs if None not in (earlier, later)]

    return Gates(
        open_decision_ms=spans("turn_open_proposed_at", "turn_open_at"),
        first_output_ms=spans("turn_open_at", "first_output_at"),
        cancel_fence_ms=spans("cancel_accepted_at", "cancel_fence_at"),
        end_to_end_ms=spans("audio_input_ingress_at", "playback_started_at"),
        evidence_complete=sum(not missing_fields(one, stamps.get(one.turn_id)) for one in turns),
        accepted=len(turns),
    )


def _recorded(recording: Recording, story: Story) -> Recorded:
    head = recording.head
    return Recorded(
        level=head.level.value,
        level_path=[change.new.value for change in recording.levels],
        whole=recording.whole,
        gaps=len(recording.gaps),
        torn=recording.torn,
        withheld_texts=story.withheld_texts,
        withheld_audio=story.withheld_audio,
        inputs=len(recording.inputs),
        digest=story.digest,
    )
