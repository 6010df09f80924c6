"""A recording under another graph, in virtual time: the caller does what was recorded, the models say what they said.

    caller, control plane       at their recorded times
    calls of a session          what they said, at its recorded time, to the node that stands in that place
    calls of a turn             the k-th call of a node is given what the k-th recorded one said, as long after it began
    evidence, playback          answered as long after they were asked for, or heard, as in the recording
    the kernel's deadlines      kept, as late as the recorded host kept them

With the recorded graph it does the recorded thing. Things at one instant happen in the order of their recorded numbers. A call
for which nothing was recorded fails as `recorded_output_missing`, which the kernel takes for a provider's failure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.words import OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.session import SessionKernel
from rspp.spec.graph import GraphDefinition
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import WHOLE, Taken, reach
from rspp.timeline.replay.modes import Decisions, Mode
from rspp.timeline.replay.nodes import played_back
from rspp.timeline.replay.recorded_calls import (
    CALL_INPUTS,
    Attempt,
    CallInput,
    Moment,
    RecordedCall,
    by_node,
    calls_of,
    lasts,
    places,
)
from rspp.timeline.story import Story, Teller

LEVEL_SOURCE: Final = "policies.recording_policy.level"
MISSING: Final = "recorded_output_missing"
# A host that is this late with a wake is busy; later ones belong to another deadline.
LATE_NS_MAX: Final = 20 * NS_PER_MS
# How long it goes on after the last recorded input, for what another graph does later.
TAIL_NS: Final = 30_000 * NS_PER_MS
ANSWER_NS: Final = NS_PER_MS
LAST: Final = 1 << 62
# Far above what any recording needs; a graph that makes its kernel wake for ever ends here.
STEPS_EXTRA_MAX: Final = 1_000_000

Due = tuple[int, int, int, Callable[[], i.Input | None]]


class MissingOutput(msgspec.Struct, frozen=True):
    """A call of the new graph for which nothing was recorded."""

    node: str
    call: str
    attempt: int


class AdaptiveRun:
    """Steps through the recording under `graph`."""

    def __init__(
        self,
        recording: Recording,
        graph: GraphDefinition,
        factories: Mapping[str, NodeFactory],
        mode: Mode,
        *,
        frames: bool = False,
    ) -> None:
        self.mode = mode
        self.recording = recording
        self.reach = reach(recording)
        self.graph = graph = at_level(graph, recording)
        self.missing: list[MissingOutput] = []  # bounded: by the calls that the kernel makes
        self.undelivered = 0  # outputs of session calls that nobody was there to take
        through = self.reach.through
        self._places = places(recording, graph, through)
        calls = calls_of(recording, through)
        self._said = {
            self._places[node]: found
            for node, found in by_node(calls.values()).items()
            if node in self._places
        }
        self._begun: dict[str, list[str]] = {}  # node -> its calls of this run, in order
        self._current: dict[str, tuple[str, int]] = {}  # node -> its last attempt
        self._matched: dict[str, RecordedCall] = {}  # bounded: by the calls
        self._cancelled: set[tuple[str, int]] = set()  # bounded: by the attempts
        self._heap: list[Due] = []
        self._pushed = 0
        self._nodes = {node.id: node for node in graph.nodes}
        self._lasting = {node.id for node in graph.nodes if lasts(node)}
        self._wakes = [at for at, one in recording.input_list(through) if isinstance(one, i.Woken)]
        self._reports, self._answers = _reactions(recording, through)
        self._playing: set[str] = set()  # bounded: by the turns
        self._asked = 0
        last_at = recording.inputs[through][0] if through else recording.began_at
        self._until = last_at + (TAIL_NS if self.reach.why == WHOLE else 0)
        self._teller = Teller(recording, frames=frames)
        same = {
            node.id: recording.nodes[node.id]
            for node in recording.head.graph.nodes
            if node.id in recording.nodes and self._nodes.get(node.id) == node
        }
        self.kernel = SessionKernel(
            _request(recording, graph, mode), graph, played_back(graph, factories, same)
        )
        self._load(through)
        self.number = -1
        self.last = through + STEPS_EXTRA_MAX

    # ---- what is known beforehand ----------------------------------------------------------------------------------

    def _load(self, through: int) -> None:
        """Everything that comes at its recorded time."""
        calls = {
            (call.call_id, number): self._places[call.node_id]
            for found in self._said.values()
            for call in found
            for number in call.attempts
            if call.node_id in self._places
        }
        for step in range(1, through + 1):
            at, received = self.recording.inputs[step]
            if isinstance(received, i.Woken | i.EvidenceStored):
                continue
            if isinstance(received, CALL_INPUTS):
                node = calls.get((received.call_id, received.attempt))
                if node is None or node in self._lasting:
                    self._push(at, step, partial(self._lasted, received, node))
            elif isinstance(received, i.DeliveryReported):
                if received.turn_id not in self._reports:
                    self._push(at, step, partial(_given, received))
            elif not isinstance(received, i.NodeMeasured) or received.node_id in self._nodes:
                self._push(at, step, partial(_given, received))

    def _push(self, at: int, step: int, make: Callable[[], i.Input | None]) -> None:
        self._pushed += 1
        heappush(self._heap, (at, step, self._pushed, make))

    def _lasted(self, received: CallInput, node: str | None) -> i.Input | None:
        """What a session's call said, for the attempt that has its place now."""
        if node is None:
            return received  # of a call that was never begun: as late here as it was there
        here = self._here(node, received)
        if here is None:
            self.undelivered += 1
            return None
        return msgspec.structs.replace(received, call_id=here[0], attempt=here[1])

    def _here(self, node: str, received: CallInput) -> tuple[str, int] | None:
        """The attempt of this run that stands for the recorded one, else the node's last."""
        for call_id in self._begun.get(node, ()):
            if self._matched[call_id].call_id == received.call_id:
                return call_id, received.attempt
        return self._current.get(node)

    # ---- stepping --------------------------------------------------------------------------------------------------

    def step(self) -> Taken | None:
        """The next thing that happens; None when nothing more does."""
        if self.number < 0:
            return self._did(self.recording.began_at, None)
        while self.number < self.last and not self.kernel.ended:
            due = self._next_wake()
            first = self._heap[0] if self._heap else None
            if due is not None and (first is None or due <= first[0]):
                if due > self._until:
                    return None
                self.kernel.wake(due)
                return self._did(due, i.Woken())
            if first is None or first[0] > self._until:
                return None
            at, _, _, make = heappop(self._heap)
            received = make()
            if received is not None:
                self.kernel.receive(at, received)
                return self._did(at, received)
        return None

    def _next_wake(self) -> int | None:
        """When the kernel is woken: as late after its deadline as the recorded host was."""
        deadline = self.kernel.deadline()
        if deadline is None:
            return None
        place = bisect_left(self._wakes, deadline)
        if place < len(self._wakes) and self._wakes[place] - deadline <= LATE_NS_MAX:
            return self._wakes[place]
        return deadline

    def _did(self, at: int, received: i.Input | None) -> Taken:
        self.number += 1
        effects = self.kernel.drain()
        items = self._teller.take(self.number, at, received, effects)
        for effect in effects:
            react = _REACTIONS.get(type(effect))
            if react is not None:
                react(self, at, effect)
        return Taken(self.number, at, items)

    def go_to(self, step: int) -> None:
        while self.number < step and self.step() is not None:
            pass

    def digest(self) -> str:
        return self._teller.tracer.digest()

    def story(self, label: str = "replay") -> Story:
        """What has happened until now."""
        return self._teller.story(
            label, self.graph, mode=self.mode.outputs.value, decisions=self.mode.decisions.value
        )

    # ---- what the kernel asks for ------------------------------------------------------------------------------------

    def _invoke(self, at: int, effect: fx.Invoke) -> None:
        node, call_id = effect.node_id, effect.call_id
        begun = self._begun.setdefault(node, [])
        if call_id not in self._matched:
            recorded = self._said.get(node, [])
            if len(begun) < len(recorded):
                self._matched[call_id] = recorded[len(begun)]
            else:
                self._matched[call_id] = RecordedCall("", node, effect.modality, {})
            begun.append(call_id)
        self._current[node] = (call_id, effect.attempt)
        attempt = self._matched[call_id].attempt(effect.attempt)
        if node in self._lasting:
            if attempt is None and node not in self._said:
                self._fail(at, effect)
            return
        if attempt is None:
            self._fail(at, effect)
            return
        self._promise(at - attempt.invoked_at, effect, attempt)

    def _promise(self, shift: int, effect: fx.Invoke, attempt: Attempt) -> None:
        """All that this attempt said, as long after it began as it was."""
        key = (effect.call_id, effect.attempt)
        cut: Moment | None = None
        for moment in attempt.said:
            if isinstance(moment.received, i.CallCancelled):
                cut = moment
                continue
            received = msgspec.structs.replace(moment.received, call_id=key[0], attempt=key[1])
            self._push(moment.at + shift, moment.step, partial(self._unless_stopped, key, received, attempt))
        ended = any(isinstance(one.received, i.CallFinished | i.CallFailed) for one in attempt.said)
        if attempt.cancel_at is not None and not ended:
            # It was stopped there: here, unless it is stopped too, nobody knows what it would have said.
            at = attempt.cancelled_at or attempt.cancel_at
            step = cut.step if cut is not None else LAST
            self._push(at + shift, step, lambda: self._cut_off(effect, key))

    def _unless_stopped(self, key: tuple[str, int], received: i.Input, attempt: Attempt) -> i.Input | None:
        """A call that is stopped here and was not there says nothing more."""
        return None if key in self._cancelled and attempt.cancel_at is None else received

    def _cut_off(self, effect: fx.Invoke, key: tuple[str, int]) -> i.Input | None:
        return None if key in self._cancelled else self._missing(effect)

    def _fail(self, at: int, effect: fx.Invoke) -> None:
        self._push(at, LAST, lambda: self._missing(effect))

    def _missing(self, effect: fx.Invoke) -> i.Input:
        self.missing.append(MissingOutput(effect.node_id, effect.call_id, effect.attempt))
        return i.CallFailed(effect.call_id, effect.attempt, OutcomeClass.INFRASTRUCTURE_FAILURE, MISSING)

    def _cancel(self, at: int, effect: fx.CancelCall) -> None:
        """It acknowledges as long after the cancel as the recorded one did; one that did not then does soon."""
        key = (effect.call_id, effect.attempt)
        call = self._matched.get(effect.call_id)
        if key in self._cancelled or call is None or call.node_id in self._lasting:
            return
        self._cancelled.add(key)
        attempt = call.attempt(effect.attempt)
        after, step = ANSWER_NS, LAST
        if attempt is not None and attempt.cancel_at is not None:
            if attempt.cancelled_at is None:
                return  # neither did that one
            after = attempt.cancelled_at - attempt.cancel_at
            step = next(one.step for one in attempt.said if isinstance(one.received, i.CallCancelled))
        self._push(at + after, step, lambda: i.CallCancelled(*key))

    def _store(self, at: int, effect: fx.StoreEvidence) -> None:
        self._asked += 1
        after, step, ok, reason = ANSWER_NS, LAST, True, None
        if self._asked <= len(self._answers):
            answer = self._answers[self._asked - 1]
            if answer is None:
                return
            after, step, ok, reason = answer
        self._push(at + after, step, lambda: i.EvidenceStored(effect.record_id, ok, reason))

    def _send(self, at: int, effect: fx.Send) -> None:
        """The first sound of a turn: its caller hears it as the recorded one did."""
        turn = effect.event.scope.turn_id
        if turn is None or turn in self._playing or not isinstance(effect.event.payload, Audio):
            return
        self._playing.add(turn)
        began, moments = self._reports.get(turn, (0, []))
        for moment in moments:
            self._push(moment.at - began + at, moment.step, partial(_given, moment.received))


def _given(received: i.Input) -> i.Input:
    return received


_REACTIONS: Final[Mapping[type, Callable[[AdaptiveRun, int, Any], None]]] = {
    fx.Invoke: AdaptiveRun._invoke,
    fx.CancelCall: AdaptiveRun._cancel,
    fx.StoreEvidence: AdaptiveRun._store,
    fx.Send: AdaptiveRun._send,
}

Answer = tuple[int, int, bool, str | None]


def _reactions(
    recording: Recording, through: int
) -> tuple[dict[str, tuple[int, list[Moment]]], list[Answer | None]]:
    """Turn -> when its sound began and what was reported of it; and the answer to each evidence, in order."""
    began: dict[str | None, int] = {}
    for run in recording.runs:
        began.setdefault(run.turn, run.at)
    reports: dict[str, tuple[int, list[Moment]]] = {}
    stored: dict[str, Moment] = {}
    for step, (at, received) in recording.inputs.items():
        if step > through:
            continue
        if isinstance(received, i.DeliveryReported) and at >= began.get(received.turn_id, LAST):
            moments = reports.setdefault(received.turn_id, (began[received.turn_id], []))[1]
            moments.append(Moment(step, at, received))
        elif isinstance(received, i.EvidenceStored):
            stored.setdefault(received.record_id, Moment(step, at, received))
    answers: list[Answer | None] = []
    for item in recording.items:
        if item.what == "store_evidence" and item.step <= through:
            moment = stored.get(item.facts["record"])
            if moment is None:
                answers.append(None)
                continue
            received = moment.received
            assert isinstance(received, i.EvidenceStored)
            answers.append((moment.at - item.at, moment.step, received.ok, received.reason))
    return reports, answers


def at_level(graph: GraphDefinition, recording: Recording) -> GraphDefinition:
    """At which level it is recorded, and who said so, is not the pipeline's change."""
    recorded = recording.head.graph
    policy = msgspec.structs.replace(graph.recording_policy, level=recorded.recording_policy.level)
    sources = {**graph.defaulting_source}
    if LEVEL_SOURCE in recorded.defaulting_source:
        sources[LEVEL_SOURCE] = recorded.defaulting_source[LEVEL_SOURCE]
    return msgspec.structs.replace(graph, recording_policy=policy, defaulting_source=sources)


def _request(recording: Recording, graph: GraphDefinition, mode: Mode) -> Any:
    """What the new kernel is born with: the recorded request, this pipeline's version, and today's flags if so asked."""
    request = recording.head.request
    flags = request.flags if mode.decisions is Decisions.REPLAY else None
    version = request.pipeline_version if graph.ref == recording.head.graph.ref else graph.version
    return msgspec.structs.replace(request, flags=flags, pipeline_version=version)
