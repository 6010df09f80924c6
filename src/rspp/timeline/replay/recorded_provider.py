"""A provider that says what was recorded, when it was recorded: in the place of a model that is not to be called again.

Calls of a session say it at the recorded time since the session began; calls of a turn as long after they began as then. The
k-th call of a node stands for the k-th recorded one; beyond them it fails as `recorded_output_missing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from rspp.contract.event import Event
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo
from rspp.kernel import inputs as i
from rspp.timeline.recording import Recording
from rspp.timeline.replay.adaptive import MISSING
from rspp.timeline.replay.recorded_calls import CALL_INPUTS, Attempt, Moment, RecordedCall

NS_PER_S = 1_000_000_000


class RecordedProvider:
    """Serves one modality of one replayed session."""

    def __init__(
        self,
        name: str,
        modality: str,
        recording: Recording,
        said: Mapping[str, list[RecordedCall]],
        lasting: frozenset[str],
        began: Callable[[], float],
    ) -> None:
        """`said` is by the node that asks; `began` says when the session began, in the loop's time."""
        self.info = ProviderInfo(name=name, modality=modality, version="recorded")
        self.calls = 0
        self._recording = recording
        self._said = said
        self._lasting = lasting
        self._began = began
        self._begun: dict[str, list[str]] = {}  # bounded: by the calls that the kernel makes
        self._scored = False

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> PlayedCall:
        """Promise everything that is recorded of this attempt."""
        self.calls += 1
        node = request.node_id
        begun = self._begun.setdefault(node, [])
        if request.call_id not in begun:
            begun.append(request.call_id)
        recorded = self._said.get(node, [])
        number = begun.index(request.call_id)
        attempt = recorded[number].attempt(request.attempt) if number < len(recorded) else None
        call = PlayedCall(answer)
        lasting = node in self._lasting
        if lasting:
            self._score(call)
        if attempt is None:
            if not lasting:
                call.fail()
            return call
        base = self._began() if lasting else asyncio.get_running_loop().time()
        since = self._recording.began_at if lasting else attempt.invoked_at
        call.play(attempt, base, since)
        return call

    def _score(self, call: PlayedCall) -> None:
        """Scores name no call: the first that is begun gives them all."""
        kind = {"vad": i.SpeechScored, "end_of_turn": i.EndOfTurnScored}.get(self.info.modality)
        if kind is None or self._scored:
            return
        self._scored = True
        base, since = self._began(), self._recording.began_at
        for step, (at, received) in self._recording.inputs.items():
            if isinstance(received, kind):
                call.promise(Moment(step, at, received), base, since)


class PlayedCall:
    """One attempt, as it was recorded."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._handles: list[asyncio.TimerHandle] = []  # bounded: by the recording
        self._over = False

    def play(self, attempt: Attempt, base: float, since: int) -> None:
        for moment in attempt.said:
            if isinstance(moment.received, CALL_INPUTS):
                self.promise(moment, base, since)

    def promise(self, moment: Moment, base: float, since: int) -> None:
        """Say it when it was said."""
        when = base + (moment.at - since) / NS_PER_S
        handle = asyncio.get_running_loop().call_at(when, partial(self._say, moment.received))
        self._handles.append(handle)

    def fail(self) -> None:
        asyncio.get_running_loop().call_soon(self._fail)

    def _fail(self) -> None:
        if not self._over:
            self._over = True
            self._answer.fail(ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, MISSING))

    def _say(self, received: i.Input) -> None:
        if self._over:
            return
        answer = self._answer
        match received:
            case i.CallAccepted():
                answer.accepted()
            case i.CallProduced():
                answer.produce(received.payload, received.port)
            case i.SpeechScored() | i.EndOfTurnScored():
                answer.score(received.probability)
            case i.CallFinished():
                self._over = True
                answer.finish(received.tokens)
            case i.CallFailed():
                self._over = True
                answer.fail(
                    ProviderError(
                        received.outcome,
                        received.reason,
                        retryable=received.retryable,
                        circuit=received.circuit,
                        retry_after_ms=received.retry_after_ms,
                    )
                )
            case _:
                self._fail()  # it was stopped here, and is not now: what it would have said is not known

    # ---- as the host drives it -----------------------------------------------------------------------------------

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self.kill()
        self._answer.stopped()

    def kill(self) -> None:
        self._over = True
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
