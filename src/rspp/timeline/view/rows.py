"""A run as rows sorted by time: what came in, what the kernel did about it, each with its lane, node and turn.

rows(recording, story)   ->  Row, Row, ...        What comes fifty times a second is folded: a row stands for a second of it,
                                                      and for all of a reply's sound
Filter(...).matches(row)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.words import Lane
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.trace import Item, Run
from rspp.spec.graph import Role
from rspp.timeline.recording import Recording
from rspp.timeline.records import Gap
from rspp.timeline.story import Said, Story
from rspp.timeline.view.words import Marked, Wording, joined

CONTROL, DATA, TELEMETRY = "control", "data", "telemetry"
FOLD_NS: Final = 1_000_000_000

_LANE_OF_WHAT: Final[Mapping[str, str]] = {
    str(kind.__struct_config__.tag): {Lane.DATA: DATA, Lane.TELEMETRY: TELEMETRY}[lane]
    for kind, lane in fx.LANE_OF_EFFECT.items()
}
_LANE_OF_INPUT: Final[Mapping[type, str]] = {
    **dict.fromkeys((i.AudioReceived, i.TextReceived, i.CallProduced, i.UnknownReceived), DATA),
    **dict.fromkeys((i.SpeechScored, i.EndOfTurnScored, i.NodeMeasured, i.ClockObserved, i.Woken), TELEMETRY),
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, or one second of a stream. `kind` is the tag of the input or effect."""

    row: int
    step: int
    time_ms: float
    lane: str
    direction: str  # in: an input; out: what the kernel did
    kind: str
    name: str = ""
    node: str | None = None
    turn: str | None = None
    text: str | None = None
    what: str = ""
    count: int = 1
    duration_ms: float = 0.0
    facts: dict[str, Any] = {}


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are wanted; what is empty asks for nothing. Times are milliseconds of the session."""

    kinds: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    lanes: frozenset[str] = frozenset()
    turns: frozenset[str] = frozenset()
    signals: frozenset[str] = frozenset()
    from_ms: float | None = None
    to_ms: float | None = None

    def matches(self, row: Row) -> bool:
        if self.from_ms is not None and row.time_ms + row.duration_ms < self.from_ms:
            return False
        if self.to_ms is not None and row.time_ms > self.to_ms:
            return False
        if self.signals and not (row.kind == "signal" and row.name in self.signals):
            return False
        return all(
            not wanted or value in wanted
            for wanted, value in (
                (self.kinds, row.kind),
                (self.nodes, row.node),
                (self.lanes, row.lane),
                (self.turns, row.turn),
            )
        )


class Called(msgspec.Struct, frozen=True):
    """Whose call it is."""

    turn: str | None
    modality: str
    node: str | None
    provider: str | None


def calls_of(story: Story) -> dict[str, Called]:
    """Every call of a run, by its id."""
    return {
        one.facts["call"]: Called(one.turn, one.name, one.facts.get("node"), one.facts.get("provider"))
        for one in story.items
        if one.what == "invoke"
    }


def rows(recording: Recording, story: Story, wording: Wording | None = None) -> list[Row]:
    """All rows of a run, in the order of time; of one moment, inputs come before what was done about them."""
    made = _Rows(recording, story, wording or Wording(recording, story))
    found = sorted(made.all(), key=lambda row: (row.time_ms, row.step, row.direction))
    return [msgspec.structs.replace(row, row=number) for number, row in enumerate(found, 1)]


class _Fold:
    """Inputs of one kind that came one after the other within a second."""

    def __init__(self, step: int, at: int, received: i.Input) -> None:
        self.step, self.at, self.last_at = step, at, at
        self.received: list[i.Input] = [received]  # bounded: by FOLD_NS, and all of it is in memory already
        self.steps = [step]

    def add(self, step: int, at: int, received: i.Input) -> None:
        self.last_at = at
        self.received.append(received)
        self.steps.append(step)


class _Rows:
    def __init__(self, recording: Recording, story: Story, wording: Wording) -> None:
        self._recording, self._story, self._wording = recording, story, wording
        self._calls = calls_of(story)
        self._source = next((node.id for node in story.graph.nodes if node.role is Role.SOURCE), None)
        self._sink = next((node.id for node in story.graph.nodes if node.role is Role.SINK), None)

    def all(self) -> Iterator[Row]:
        yield from self._inputs()
        texts = _texts_by_step(self._story.said)
        for item in self._story.items:
            yield self._item(item, texts)
        for run in _whole(self._story.runs):
            yield self._run(run)
        for gap in self._recording.gaps:
            yield self._gap(gap)

    def _ms(self, at: int) -> float:
        return round((at - self._story.began_at) / NS_PER_MS, 3)

    # ---- what came in ------------------------------------------------------------------------------------------------

    def _inputs(self) -> Iterator[Row]:
        folds: dict[tuple[str, str], _Fold] = {}
        for step, (at, received) in self._story.inputs.items():
            key = self._fold_key(received)
            if key is None:
                yield self._input(_Fold(step, at, received))
                continue
            fold = folds.get(key)
            if fold is not None and at - fold.at < FOLD_NS:
                fold.add(step, at, received)
                continue
            if fold is not None:
                yield self._input(fold)
            folds[key] = _Fold(step, at, received)
        for fold in folds.values():
            yield self._input(fold)

    def _fold_key(self, received: i.Input) -> tuple[str, str] | None:
        if isinstance(received, i.AudioReceived | i.SpeechScored | i.Woken | i.ClockObserved):
            return type(received).__name__, ""
        if isinstance(received, i.NodeMeasured):
            return "NodeMeasured", received.node_id
        if isinstance(received, i.DeliveryReported) and received.what == "position":
            return "position", received.turn_id
        if isinstance(received, i.CallProduced) and not (
            isinstance(received.payload, Text) and received.payload.role == "user"
        ):
            return "CallProduced", f"{received.call_id}/{received.attempt}/{type(received.payload).__name__}"
        return None

    def _input(self, fold: _Fold) -> Row:
        first = fold.received[0]
        call = self._calls.get(getattr(first, "call_id", ""))
        words = self._words(fold)
        return Row(
            row=0,
            step=fold.step,
            time_ms=self._ms(fold.at),
            lane=_LANE_OF_INPUT.get(type(first), CONTROL),
            direction="in",
            kind=str(first.__struct_config__.tag),
            name=_name_of(first, call),
            node=call.node if call else self._node_of(first),
            turn=call.turn if call else getattr(first, "turn_id", None),
            text=words.shown if words else None,
            what=_told(fold.received, call),
            count=len(fold.received),
            duration_ms=round((fold.last_at - fold.at) / NS_PER_MS, 3),
            facts=_facts_of(first) if len(fold.received) == 1 else {},
        )

    def _words(self, fold: _Fold) -> Marked | None:
        pieces: list[Marked] = []
        for step, received in zip(fold.steps, fold.received, strict=True):
            if isinstance(received, i.TextReceived):
                pieces.append(self._wording.heard(step, received.text))
            elif isinstance(received, i.CallProduced) and isinstance(received.payload, Text):
                pieces.append(self._wording.heard(step, received.payload.text))
        return joined(pieces) if pieces else None

    def _node_of(self, received: i.Input) -> str | None:
        if isinstance(received, i.AudioReceived | i.TextReceived):
            return self._source
        if isinstance(received, i.DeliveryReported):
            return self._sink
        return getattr(received, "node_id", None)

    # ---- what was done -----------------------------------------------------------------------------------------------

    def _item(self, item: Item, texts: dict[int, list[Said]]) -> Row:
        call = self._calls.get(item.facts.get("call") or item.facts.get("call_id") or "")
        text: str | None = None
        if item.what == "send" and "chars" in item.facts:
            waiting = texts.get(item.step)
            if waiting:
                said = waiting.pop(0)
                text = self._wording.sent(said.turn, said.text).shown
        node = item.facts.get("node") or (call.node if call else None)
        return Row(
            row=0,
            step=item.step,
            time_ms=self._ms(item.at),
            lane=_LANE_OF_WHAT.get(item.what, CONTROL),
            direction="out",
            kind=item.what,
            name=item.name,
            node=node or (self._sink if item.what == "send" else None),
            turn=item.turn or (call.turn if call else _subject(item)),
            text=text,
            what=_done(item, call),
            facts=item.facts,
        )

    def _run(self, run: Run) -> Row:
        seconds = run.samples / run.rate if run.rate else 0.0
        return Row(
            row=0,
            step=run.step,
            time_ms=self._ms(run.at),
            lane=DATA,
            direction="out",
            kind="send",
            name="audio",
            node=self._sink,
            turn=run.turn,
            what=f"{seconds:.2f} s of sound from sample {run.sample_index}",
            count=run.frames,
            duration_ms=round((run.last_at - run.at) / NS_PER_MS, 3),
            facts={"samples": run.samples, "rate": run.rate, "sample_index": run.sample_index},
        )

    def _gap(self, gap: Gap) -> Row:
        what = f"detail from input {gap.step} on is not here ({gap.records} records)"
        at, story = gap.at, self._story
        if at <= story.began_at:  # it is only known behind which input
            at, _ = story.inputs.get(gap.step - 1, (story.began_at, None))
        return Row(
            row=0,
            step=gap.step,
            time_ms=self._ms(at),
            lane=CONTROL,
            direction="out",
            kind="gap",
            name=gap.reason,
            what=what,
        )


def _whole(runs: Iterable[Run]) -> list[Run]:
    """Runs of frames that a recorder cut at the end of its batches, put together again."""
    found: list[Run] = []
    for run in runs:
        last = found[-1] if found else None
        if last and last.turn == run.turn and last.sample_index + last.samples == run.sample_index:
            found[-1] = msgspec.structs.replace(
                last, samples=last.samples + run.samples, frames=last.frames + run.frames, last_at=run.last_at
            )
        else:
            found.append(run)
    return found


def _texts_by_step(said: Iterable[Said]) -> dict[int, list[Said]]:
    found: dict[int, list[Said]] = {}
    for one in said:
        found.setdefault(one.step, []).append(one)
    return found


# ---- in words --------------------------------------------------------------------------------------------------------


def _name_of(received: i.Input, call: Called | None) -> str:
    if call is not None:
        return call.modality
    for field in ("signal", "what", "change", "phase", "state", "kind", "name"):
        value = getattr(received, field, None)
        if isinstance(value, str):
            return value
    return ""


def _facts_of(received: i.Input) -> dict[str, Any]:
    """What an input says, but for its content, which is a column of its own, and its audio."""
    facts: dict[str, Any] = msgspec.to_builtins(received, builtin_types=(bytes,))
    facts.pop("input", None)
    for name in ("text", "value", "token", "extensions"):
        facts.pop(name, None)
    for name in ("payload", "audio"):
        inside = facts.get(name)
        if isinstance(inside, dict):
            facts[name] = {key: one for key, one in inside.items() if key not in ("text", "data", "message")}
    return facts


def _told(folded: list[i.Input], call: Called | None) -> str:
    """Inputs in words."""
    first, count = folded[0], len(folded)
    if isinstance(first, i.AudioReceived):
        sounds = [one.audio for one in folded if isinstance(one, i.AudioReceived)]
        return f"{_seconds(sounds):.2f} s of sound from sample {first.audio.sample_index}"
    if isinstance(first, i.SpeechScored):
        scores = [one.probability for one in folded if isinstance(one, i.SpeechScored)]
        return f"speech {min(scores):.2f} to {max(scores):.2f}" if count > 1 else f"speech {scores[0]:.2f}"
    if isinstance(first, i.EndOfTurnScored):
        return f"end of turn {first.probability:.2f}"
    if isinstance(first, i.CallProduced):
        sounds = [
            one.payload
            for one in folded
            if isinstance(one, i.CallProduced) and isinstance(one.payload, Audio)
        ]
        by = f"{call.provider}" if call and call.provider else ""
        if sounds:
            return f"{_seconds(sounds):.2f} s of sound {by}".rstrip()
        final = isinstance(first.payload, Text) and first.payload.role == "user"
        return f"{by} {'final' if final and getattr(first.payload, 'final', False) else ''}".strip()
    if isinstance(first, i.DeliveryReported):
        last = folded[-1]
        return f"heard {last.heard_ms} ms" if isinstance(last, i.DeliveryReported) else ""
    if isinstance(first, i.CallFailed):
        return f"{first.outcome.value}: {first.reason}"
    facts = _facts_of(first)
    if facts.get("attempt") == 1:
        facts.pop("attempt")
    # Whose call it is, its node and its turn say; the row's facts have its id.
    hidden = ("payload", "snapshot") if call is None else ("payload", "snapshot", "call_id")
    return _pairs({key: one for key, one in facts.items() if key not in hidden})


def _seconds(sounds: Iterable[Audio]) -> float:
    return sum(one.samples / one.rate for one in sounds if one.rate)


def _done(item: Item, call: Called | None) -> str:
    """What the kernel did, in words."""
    facts = item.facts
    if item.what == "signal":
        shown = dict(facts.get("detail") or {})
        for key in ("scope", "target_lane", "amount", "seq_range", "edge"):
            if key in facts:
                shown[key] = facts[key]
        return "  ".join(filter(None, (facts.get("reason") or "", _pairs(shown))))
    if item.what == "record":
        return _recorded(item)
    if item.what == "invoke":
        again = f"attempt {facts['attempt']}" if facts.get("attempt", 1) > 1 else ""
        early = "speculative" if facts.get("speculative") else ""
        return "  ".join(filter(None, (str(facts.get("provider", "")), again, early)))
    if item.what == "observe":
        return f"{facts.get('name', '')} {facts.get('value', '')} {facts.get('unit', '')}".strip()
    if "chars" in facts:
        return f"{facts['chars']} characters{', final' if facts.get('final') else ''}"
    if call is not None:
        return _pairs({key: one for key, one in facts.items() if key not in ("call", "call_id")})
    return _pairs({key: one for key, one in facts.items() if key not in ("generation", "sum", "shape")})


def _subject(item: Item) -> str | None:
    """The turn that a transition is of, which its item does not name as its turn."""
    return item.facts.get("subject") if item.facts.get("machine") == "turn" else None


def _recorded(item: Item) -> str:
    facts = item.facts
    if item.name == "plan":
        return f"plan {facts['plan_hash'][:12]}"
    if item.name == "transition":
        return f"{facts.get('machine')} {facts.get('from_state')} to {facts.get('to_state')}: {facts.get('trigger')}"
    return f"{facts.get('outcome_kind')} {facts.get('phase')}: {facts.get('reason')}"


def _pairs(facts: Mapping[str, Any]) -> str:
    return "  ".join(f"{key} {_short(one)}" for key, one in facts.items() if one not in (None, "", [], {}))


def _short(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
