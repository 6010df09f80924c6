"""Whatever is handed to a kernel, in whatever order: it stays whole, bounded and repeatable.

Hypothesis plays everybody at once: a caller, providers that keep their word and providers that break it, a control
plane, a recorder, a clock that sometimes runs backwards. No step may end in an exception or a broken invariant.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.words import CancelScope, Lane, OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.calls import CallState
from rspp.kernel.lanes import CONTROL_HEADROOM
from rspp.spec import compile_text, voice_template
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import FRAME, Rig, replayed
from tests.invariants import strategies as given_by

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

EVERY_BUFFER: Final = Path(__file__).parents[1] / "specs" / "good" / "every-buffer.yaml"
GRAPHS: Final[dict[str, GraphDefinition]] = {
    "voice": voice_template(),
    "queueing": voice_template(overlap="queue", late_events="diagnose", unknown_events="pass_through"),
    "by words": voice_template(turn_taking={"interruption": "words", "idle_prompt_ms": 500}),
    "apologising": voice_template(error_reply={"text": "Sorry."}, calls={"attempts_per_provider_max": 1}),
    "every buffer": compile_text(EVERY_BUFFER.read_text(encoding="utf-8")),
}


class Session(RuleBasedStateMachine):
    """One session, played by chance."""

    rig: Rig

    @initialize(
        name=st.sampled_from(sorted(GRAPHS)),
        stores=st.sampled_from([True, True, True, False]),
        reports=st.booleans(),
        connected=st.sampled_from([True, True, True, False]),
    )
    def begin(self, name: str, stores: bool, reports: bool, connected: bool) -> None:
        self.rig = Rig(GRAPHS[name], stores_evidence=stores, reports_playback=reports)
        self.calls: dict[str, fx.Invoke] = {}
        self.asked: deque[str] = deque(maxlen=8)  # evidence that nobody has answered for
        self.next: dict[tuple[str, int], int] = {}
        self.seen = 0
        if connected:
            self.rig.connect()

    # ---- what happens --------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([0, 1, 20, 80, 300, 1_000, 4_000, 40_000]))
    def time_passes(self, ms: int) -> None:
        self.rig.advance(ms)

    @rule(received=given_by.from_the_caller | given_by.listening)
    def the_caller_does_something(self, received: i.Input) -> None:
        self.rig.give(received)

    @rule(received=given_by.from_the_platform)
    def the_platform_does_something(self, received: i.Input) -> None:
        self.rig.give(received)

    @rule(received=given_by.connections)
    def the_line_changes(self, received: i.Input) -> None:
        self.rig.give(received)

    @rule(ms=st.sampled_from([100, 400, 700]), words=given_by.WORDS, final=st.booleans())
    def the_caller_speaks(self, ms: int, words: str, final: bool) -> None:
        """A likely sequence, so that turns are reached often."""
        self.rig.voice(ms)
        if "stt" in self.rig.invocations:
            self.rig.partial(words)
        self.rig.hush(340)
        self.rig.give(i.EndOfTurnScored(0.95))
        if final and "stt" in self.rig.invocations:
            self.rig.final(words)

    @rule(words=given_by.WORDS)
    def the_caller_types(self, words: str) -> None:
        self.rig.type(words)

    @rule(cancel=given_by.cancels, pick=st.integers(0, 99))
    def the_caller_cancels(self, cancel: i.ControlReceived, pick: int) -> None:
        call = self._call(pick)
        target = call.call_id if call and cancel.scope is CancelScope.CALL else cancel.target
        self.rig.control("cancel", scope=cancel.scope, target=target, mode=cancel.mode, reason=cancel.reason)

    @rule(received=given_by.from_the_caller, back_ms=st.integers(1, 5_000))
    def the_clock_runs_backwards(self, received: i.Input, back_ms: int) -> None:
        now = self.rig.now
        self.rig.now = max(0, now - back_ms * NS_PER_MS)
        self.rig.give(received)
        self.rig.now = now
        self.rig.advance(0)  # what fell due in between is due now

    @rule(
        pick=st.integers(0, 99),
        payload=given_by.payloads,
        off=st.sampled_from([0, 0, 0, 0, -1, 1]),
        port=st.sampled_from([None, None, "text", "nowhere"]),
    )
    def a_provider_produces(self, pick: int, payload: Any, off: int, port: str | None) -> None:
        call = self._call(pick)
        if call is None:
            self.rig.give(i.CallProduced("nobody's", 1, 0, payload, port))
            return
        self._produce(call, payload, off, port)

    @rule(pick=st.integers(0, 99), ms=st.sampled_from([20, 200, 1_000]))
    def a_provider_keeps_its_word(self, pick: int, ms: int) -> None:
        call = self._call(pick)
        if call is None:
            return
        if call.modality == "llm":
            self._produce(call, Text("It is ten. ", role="assistant"))
        elif call.modality == "tts":
            self._produce(call, Audio(FRAME * (ms // 20), 320 * (ms // 20), 0))
        self.rig.give(i.CallFinished(call.call_id, call.attempt, tokens=3))

    @rule(
        pick=st.integers(0, 99),
        what=st.sampled_from(["accepted", "finished", "cancelled"]),
        attempt=st.sampled_from([0, 0, 0, 1, -1]),
    )
    def a_provider_answers(self, pick: int, what: str, attempt: int) -> None:
        call = self._call(pick)
        name, number = (call.call_id, call.attempt + attempt) if call else ("nobody's", 1)
        kinds = {"accepted": i.CallAccepted, "finished": i.CallFinished, "cancelled": i.CallCancelled}
        self.rig.give(kinds[what](name, number))

    @rule(
        pick=st.integers(0, 99),
        outcome=given_by.outcomes,
        retryable=st.booleans(),
        circuit=st.booleans(),
        after=st.sampled_from([None, 0, 100, 10**9]),
    )
    def a_provider_fails(
        self, pick: int, outcome: OutcomeClass, retryable: bool, circuit: bool, after: int | None
    ) -> None:
        call = self._call(pick)
        if call is not None:
            self.rig.give(
                i.CallFailed(call.call_id, call.attempt, outcome, "broken", retryable, circuit, after)
            )

    @rule(ok=st.booleans(), pick=st.integers(0, 7))
    def the_recorder_answers(self, ok: bool, pick: int) -> None:
        if self.asked:
            self.rig.give(i.EvidenceStored(self.asked[pick % len(self.asked)], ok))

    @rule(
        what=st.sampled_from(["accepted", "started", "position", "completed", "lost"]),
        turn=st.integers(0, 4),
        heard=st.sampled_from([-1, 0, 100, 10**9]),
        epoch=given_by.EPOCHS,
    )
    def the_client_reports(self, what: str, turn: int, heard: int, epoch: int | None) -> None:
        self.rig.give(i.DeliveryReported(what, f"s1/turn-{turn}", heard, epoch))

    @rule(pick=st.integers(0, 99), amount=st.integers(-1, 3))
    def somebody_grants_credits(self, pick: int, amount: int) -> None:
        edges = [edge.id for edge in self.rig.graph.edges]
        self.rig.give(i.CreditGranted(edges[pick % len(edges)], amount))

    @rule(pick=st.integers(0, 99), ms=st.sampled_from([0, 700, 900, 10**6]), raised=st.booleans())
    def the_host_measures(self, pick: int, ms: int, raised: bool) -> None:
        nodes = [node.id for node in self.rig.graph.nodes]
        node_id = nodes[pick % len(nodes)]
        self.rig.give(i.NodeRaised(node_id, "Killed") if raised else i.NodeMeasured(node_id, ms, ms))

    # ---- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def no_invariant_of_ours_broke(self) -> None:
        assert self.rig.kernel.error is None

    @invariant()
    def the_outbox_is_bounded(self) -> None:
        """The rig drains after each input: what one input can cause is what may ever stand there."""
        limits = self.rig.graph.policies.limits.lane_items_max
        fresh = self.rig.effects[self.seen :]
        self.seen = len(self.rig.effects)
        for _, effect in fresh:
            if isinstance(effect, fx.Invoke):
                self.calls[effect.call_id] = effect
            elif isinstance(effect, fx.StoreEvidence) and not self.rig.stores_evidence:
                self.asked.append(effect.record_id)
        telemetry = sum(isinstance(effect, fx.Observe) for _, effect in fresh)
        assert telemetry <= limits[Lane.TELEMETRY] * 64
        assert len(self.rig.kernel.desk.outbox) == 0
        assert limits[Lane.CONTROL] * CONTROL_HEADROOM == 2048

    @invariant()
    def every_timer_belongs_to_something_that_lives(self) -> None:
        kernel = self.rig.kernel
        living = {call.id for call in kernel.work.book.calls.values() if call.state is not CallState.ENDED}
        turn = kernel.turns.current
        known = {"", *kernel.graph.nodes, *kernel.graph.edges, *living, *([turn.id] if turn else [])}
        assert [key for key in kernel.desk.timers if key[1] not in known] == []

    @invariant()
    def every_queue_is_within_its_bounds(self) -> None:
        for edge in self.rig.kernel.graph.edges.values():
            assert len(edge.queue.items) <= edge.queue.policy.max_queue_items
            assert edge.queue.bytes >= 0
            assert edge.queue.notices == []

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        rig.monitor.finish(rig.now)
        assert rig.monitor.violations == []
        assert replayed(rig) == [effect for _, effect in rig.effects]

    # ---- how -----------------------------------------------------------------------------------------------------

    def _call(self, pick: int) -> fx.Invoke | None:
        """One of the newest calls; the youngest is the likeliest to matter."""
        calls = list(self.calls.values())[-5:]
        return calls[-1 - pick % len(calls)] if calls and pick < 90 else None

    def _produce(self, call: fx.Invoke, payload: Any, off: int = 0, port: str | None = None) -> None:
        key = (call.call_id, call.attempt)
        sequence = self.next.get(key, 0)
        self.next[key] = sequence + 1
        self.rig.give(i.CallProduced(call.call_id, call.attempt, sequence + off, payload, port))


def play(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Session,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_session_played_by_chance_stays_whole() -> None:
    play(examples=60, steps=40)


@pytest.mark.long
@pytest.mark.slow
def test_many_long_sessions_played_by_chance_stay_whole() -> None:
    play(examples=250, steps=100)
