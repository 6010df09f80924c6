"""Rows of providers, through a whole host: who is asked, what streams, what stops, and how each call's outcome is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Text
from rspp.contract.words import CancelScope
from rspp.host.ports import Answer, Call, CallRequest, ProviderInfo, ReactiveProvider
from rspp.host.registry import ProviderKind, Registry
from rspp.spec import Layer, compile_text
from rspp.spec.graph import GraphDefinition
from tests.features.play import WRITTEN, Watched, events_of, heard_at, typed
from tests.unit.host.stage import SPEC, Caller, Stage, graph_of, on_stage, registry_of

# ---- F-055: adapters are set by configuration ------------------------------------------------------------------------

MODALITIES = ("stt", "llm", "tts")


def two_of_each() -> Registry:
    """The scripted providers, those of three modalities under two names."""
    kinds = registry_of().providers
    twins = {f"other-{modality}": kinds[f"scripted-{modality}"] for modality in MODALITIES}
    return msgspec.structs.replace(registry_of(), providers={**kinds, **twins})


def nodes_of(graph: GraphDefinition) -> bytes:
    return msgspec.json.encode((graph.nodes, graph.edges, graph.turn_input))


@pytest.mark.proves("F-055")
@pytest.mark.parametrize("changed", [(), ("stt",), ("llm",), ("tts",), MODALITIES])
def test_the_configured_adapter_is_asked_and_nodes_and_spec_stay_as_they_were(
    changed: tuple[str, ...],
) -> None:
    bindings = {modality: [f"other-{modality}"] for modality in changed}
    graph = compile_text(SPEC, layers=[Layer.of("tenant", {"providers": bindings})])
    assert nodes_of(graph) == nodes_of(compile_text(SPEC))
    watched = Watched()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        for modality in MODALITIES:
            wanted = f"other-{modality}" if modality in changed else f"scripted-{modality}"
            assert set(watched.asked(modality)) == {wanted}
        assert caller.audio()

    on_stage(scene, graph, registry=watched.registry(two_of_each()))


class Sound:
    """Keeps the contract's form."""

    info = ProviderInfo(name="mine", modality="llm", version="v1")

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def run(self, call: object) -> None: ...


class Nameless(Sound):
    info = None  # type: ignore[assignment]


class WrongModality(Sound):
    info = ProviderInfo(name="mine", modality="tts", version="v1")


class Deaf(Sound):
    run = None  # type: ignore[assignment]


class Blocking(Sound):
    def open(self) -> None: ...  # type: ignore[override]


class Halfway(Sound):
    def run(self, call: object) -> None: ...  # type: ignore[override]


@pytest.mark.proves("F-055")
@pytest.mark.parametrize("adapter", [Nameless, WrongModality, Deaf, Blocking, Halfway])
def test_an_adapter_that_breaks_the_contract_is_refused_when_it_is_registered(adapter: Any) -> None:
    async def scene(stage: Stage) -> None:
        with pytest.raises(MisuseError) as refused:
            stage.host.publish(graph_of(base=SPEC.replace("scripted-llm", "mine").replace("v1", "v2")))
        assert refused.value.code == "provider_unfit"
        assert refused.value.path == "providers.mine"
        # Nothing has changed: callers are served as before.
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")

    def registry(kind: Any) -> Registry:
        def factory(name: str, settings: Mapping[str, object]) -> Any:
            return kind()

        return registry_of(mine=ProviderKind("llm", factory))

    on_stage(scene, registry=registry(adapter))
    registry(Sound).make("mine")


# ---- F-063: tokens as they are made ----------------------------------------------------------------------------------

GAP_MS = 200


def tokens(caller: Caller) -> list[tuple[float, str]]:
    return [
        (at / 1e6, e.payload.text)
        for at, e in caller.events
        if isinstance(e.payload, Text) and e.payload.text
    ]


@pytest.mark.proves("F-063")
def test_tokens_come_as_the_model_makes_them() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(40)
        typed(caller, "count")
        await caller.until("commit")
        came = tokens(caller)
        assert "".join(text for _, text in came) == "one two three four five six seven eight nine ten"
        (over, _, _) = events_of(caller, "call_ended")[0]
        assert came[0][0] <= over / 1e6 - 9 * GAP_MS
        gaps = [after - before for (before, _), (after, _) in pairwise(came)]
        assert all(abs(gap - GAP_MS) <= 10 for gap in gaps)

    on_stage(scene, graph_of(base=WRITTEN))


@pytest.mark.proves("F-063")
def test_a_cancel_stops_the_tokens_at_its_fence_and_the_upstream_request_with_them() -> None:
    watched = Watched()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(40)
        typed(caller, "count")
        await caller.until("turn_open")
        await caller.frames(1_000)
        asked_ms = stage.clock.now() / 1e6
        caller.control("cancel", scope=CancelScope.TURN)
        await caller.frames(3_000)
        ((fence, _, _),) = events_of(caller, "cancel")
        assert fence / 1e6 <= asked_ms + 10
        (call,) = watched.gave
        assert len(watched.gave[call]) >= 3
        assert [at for at, _ in tokens(caller) if at > fence / 1e6] == []
        assert watched.stopped[call] <= asked_ms + 10
        assert [at for at in watched.gave[call] if at > watched.stopped[call]] == []
        assert caller.seat is not None
        assert caller.seat.open_calls == 1  # the recogniser's

    on_stage(scene, graph_of(base=WRITTEN), registry=watched.registry(registry_of()))


# ---- F-064: a voice that begins before the text has ended ------------------------------------------------------------

SLOW_TALKER = """
provider_settings:
  scripted-llm:
    {use: scripted-llm, first_ms: 300, tokens_per_s: 5, answers: [The first sentence is here. The second one comes later. And this is the last.]}
"""


@pytest.mark.proves("F-064")
def test_the_voice_begins_before_the_text_has_ended() -> None:
    watched = Watched()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        (writing,) = [request.call_id for request in watched.begun if request.modality == "llm"]
        last_token_ms = watched.gave[writing][-1]
        spoken = [
            at for at, e in caller.events if isinstance(e.payload, Text) and e.payload.role == "assistant"
        ]
        first_sound_ms = heard_at(caller)[0] / 1e6
        assert first_sound_ms < last_token_ms - 1_000
        assert first_sound_ms < spoken[-1] / 1e6
        # The voice itself streams: its sound begins before it has made all of it.
        speaking = next(request.call_id for request in watched.begun if request.modality == "tts")
        assert first_sound_ms < watched.gave[speaking][-1]

    on_stage(scene, graph_of(SLOW_TALKER), registry=watched.registry(registry_of()))


@pytest.mark.proves("F-064")
@pytest.mark.parametrize("talking_ms", [200, 800, 2_000])
def test_a_caller_who_takes_the_floor_hears_nothing_past_the_fence(talking_ms: int) -> None:
    watched = Watched()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        await caller.frames(talking_ms)
        began_ms = stage.clock.now() / 1e6
        await caller.speak(800)
        ((fence, event, _),) = events_of(caller, "playback_cancelled")
        turn_id = event.scope.turn_id
        assert began_ms < fence / 1e6 <= began_ms + 400
        past = [
            at
            for at, e in caller.events
            if at > fence
            and isinstance(e.payload, Audio)
            and not e.payload.end
            and e.scope.turn_id == turn_id
        ]
        assert past == []
        assert ("stop", turn_id) in caller.told  # and what the client holds is thrown away
        # It stands still from the first voice on, not only from the fence.
        assert [at for at in heard_at(caller) if began_ms + 40 < at / 1e6 < fence / 1e6] == []
        for call, given in watched.gave.items():
            if turn_id is not None and turn_id in call:
                assert [at for at in given if at > fence / 1e6] == []

    slow = SLOW_TALKER + "  scripted-tts: {use: scripted-tts, speed: 1.2}\n"
    on_stage(scene, graph_of(slow), registry=watched.registry(registry_of()))


# ---- F-160: one outcome for each call --------------------------------------------------------------------------------

FAULTS = {
    "success": {},
    "blocked": {"fail_times": -1, "fail_outcome": "blocked", "fail_retryable": False},
    "overload": {"fail_times": -1, "fail_outcome": "overload"},
    "timeout": {"hang": "before_first_chunk"},
}


class OneUtterance:
    """A recogniser that is done, successfully, when it has given one final: others listen for ever."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        self.inner = registry_of().providers["scripted-stt"].factory(name, settings)
        self.info = self.inner.info
        self.open, self.close = self.inner.open, self.inner.close

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        return cast(ReactiveProvider, self.inner).begin(request, cast(Answer, _EndsWithFinal(answer)))


class _EndsWithFinal:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def produce(self, payload: Any, port: str | None = None) -> None:
        self._answer.produce(payload, port)
        if payload.final:
            self._answer.finish()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)


def faulty(modality: str, outcome: str) -> GraphDefinition:
    settings = {f"scripted-{modality}": {"use": f"scripted-{modality}", "faults": FAULTS[outcome]}}
    return compile_text(
        SPEC, layers=[Layer.of("tenant", {"provider_settings": settings} if FAULTS[outcome] else {})]
    )


def ends_of(caller: Caller, modality: str) -> list[tuple[str | None, str, str | None]]:
    """The calls of a modality that have ended: their ids, outcomes and turns."""
    return [
        (event.invocation_id, str((signal.detail or {})["outcome"]), event.scope.turn_id)
        for _, event, signal in events_of(caller, "call_ended")
        if event.node_id == modality
    ]


@pytest.mark.proves("F-160")
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("outcome", list(FAULTS))
def test_each_call_has_an_id_of_its_own_its_scope_and_one_outcome_in_events_and_metrics(
    modality: str, outcome: str
) -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.frames(8_000)
        assert caller.seat is not None
        begun = [(e.invocation_id, e.scope.turn_id) for _, e, _ in events_of(caller, "call_started")]
        ended = [(e.invocation_id, e.scope.turn_id) for _, e, _ in events_of(caller, "call_ended")]
        ids = [call for call, _ in begun]
        assert None not in ids
        assert len(set(ids)) == len(ids)
        # A call ends once, in the scope in which it began; what has not ended is what runs.
        assert len(set(ended)) == len(ended)
        assert len(set(begun) - set(ended)) == caller.seat.open_calls == len(begun) - len(ended)
        found = ends_of(caller, modality)
        assert outcome in {one for _, one, _ in found}
        assert all((turn is None) == (modality == "stt") for _, _, turn in found)
        told = Counter(one for _, one, _ in found)
        counted = {
            dict(reading.labels)["outcome"]: reading.value
            for reading in stage.host.meters.read().counters
            if reading.name == "provider_invocations_total" and ("modality", modality) in reading.labels
        }
        assert counted == told

    registry = registry_of(scripted_stt=ProviderKind("stt", OneUtterance))
    on_stage(scene, faulty(modality, outcome), registry=registry if outcome == "success" else None)


@pytest.mark.proves("F-160")
def test_a_cancelled_scope_stops_its_own_calls_and_no_others() -> None:
    watched = Watched()

    async def scene(stage: Stage) -> None:
        one, other = stage.call(), stage.call("t2")
        await asyncio.gather(one.speak(), other.speak())
        await asyncio.gather(one.until_answered(), other.until_answered())
        assert one.seat is not None
        assert other.seat is not None
        running = {call.call_id for call in watched.begun} - finished(one) - finished(other)
        of_turn = {call for call in running if "/turn-" in call and one.seat.session_id in call}
        assert {call.rsplit("/", 1)[1] for call in of_turn} == {"llm", "tts"}
        one.control("cancel", scope=CancelScope.TURN)
        await asyncio.gather(one.frames(200), other.frames(200))
        assert set(watched.stopped) == of_turn
        # What belongs to the session goes on listening, and the other session's turn is heard to its end.
        await other.until("commit")
        assert set(watched.stopped) == of_turn

    def finished(caller: Caller) -> set[str | None]:
        return {event.invocation_id for _, event, _ in events_of(caller, "call_ended")}

    slow = SLOW_TALKER + "  scripted-tts: {use: scripted-tts, speed: 1.2}\n"
    on_stage(scene, graph_of(slow), registry=watched.registry(registry_of()))
