"""What a provider says becomes inputs of its session, in order, and ends with exactly one end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rspp.contract.event import Event, Scope, Text
from rspp.contract.words import CancelMode, CancelReason, EventKind, OutcomeClass, PayloadClass
from rspp.host.calls import FEED_ITEMS_MAX, CoroutineCall, Reply
from rspp.host.ports import CallRequest, EndOfFeed, LiveCall, ProviderError
from rspp.host.tasks import TaskScope
from rspp.kernel import inputs as i
from rspp.testing.clock import idle, run_virtual

REQUEST = CallRequest(
    call_id="pvi/s1/turn-1/e/llm",
    attempt=1,
    node_id="llm",
    modality="llm",
    provider="p",
    idempotency_key="k",
    epoch=1,
    deadline_at=None,
)
EVENT = Event(
    Scope(session_id="s1", tenant_id="t", pipeline_version="v1", epoch=1),
    EventKind.TEXT,
    1,
    0,
    Text("hello"),
    PayloadClass.TEXT_RAW,
)


class Inbox:
    def __init__(self) -> None:
        self.taken: list[i.Input] = []
        self.full = False

    def ingest(self, received: i.Input) -> bool:
        if self.full and isinstance(received, i.CallProduced):
            return False
        self.taken.append(received)
        return True

    def kinds(self) -> list[str]:
        return [type(one).__name__ for one in self.taken]


Body = Callable[[LiveCall], Coroutine[Any, Any, None]]
Drive = Callable[[CoroutineCall, Inbox], Coroutine[Any, Any, None]]


def played(body: Body, drive: Drive | None = None) -> Inbox:
    """Run a coroutine as a call, driven as the test says, and see that its task ends."""
    inbox = Inbox()

    async def main() -> None:
        failures: list[BaseException] = []
        tasks = TaskScope(asyncio.get_running_loop(), lambda _, error: failures.append(error))
        call = CoroutineCall(REQUEST, Reply(REQUEST, inbox, lambda _: None), body, tasks.spawn)
        if drive is not None:
            await drive(call, inbox)
        assert await tasks.wait(5) == []
        assert failures == []

    run_virtual(main())
    return inbox


def test_chunks_are_numbered_from_0_and_the_end_tells_the_tokens() -> None:
    async def body(call: LiveCall) -> None:
        call.accepted()
        for word in ("a", "b"):
            await call.produce(Text(word))
            call.used(2)

    taken = played(body).taken
    assert [one.sequence for one in taken if isinstance(one, i.CallProduced)] == [0, 1]
    assert taken[-1] == i.CallFinished(REQUEST.call_id, 1, 4)


@pytest.mark.parametrize("mode", [CancelMode.HARD, CancelMode.SOFT])
def test_a_cancel_is_acknowledged_and_nothing_comes_after_it(mode: CancelMode) -> None:
    async def body(call: LiveCall) -> None:
        while not call.stopping:
            await call.produce(Text("x"))
            await asyncio.sleep(0.01)

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        await asyncio.sleep(0.05)
        call.cancel(CancelReason.BARGE_IN, mode)

    inbox = played(body, drive)
    assert inbox.kinds()[-1] == "CallCancelled"
    assert inbox.kinds().count("CallCancelled") == 1


def test_a_soft_cancel_lets_the_chunk_in_flight_out_first() -> None:
    async def body(call: LiveCall) -> None:
        await asyncio.sleep(0.05)
        await call.produce(Text("whole"))

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        await asyncio.sleep(0.01)
        call.cancel(CancelReason.BARGE_IN, CancelMode.SOFT)

    assert played(body, drive).kinds() == ["CallProduced", "CallCancelled"]


def test_a_call_that_is_cancelled_before_its_first_step_acknowledges_it_too() -> None:
    async def body(call: LiveCall) -> None:
        await call.produce(Text("never"))

    async def drive(call: CoroutineCall, _inbox: Inbox) -> None:
        call.cancel(CancelReason.BARGE_IN, CancelMode.HARD)

    assert played(body, drive).kinds() == ["CallCancelled"]


def test_a_soft_cancel_ends_the_wait_for_more_and_leaves_time_for_what_is_in_flight() -> None:
    async def body(call: LiveCall) -> None:
        async for _ in call.feed():
            pass
        await call.produce(Text("last"))

    async def drive(call: CoroutineCall, _inbox: Inbox) -> None:
        call.feed(EVENT)
        await idle()
        call.cancel(CancelReason.BARGE_IN, CancelMode.SOFT)

    assert played(body, drive).kinds() == ["CallProduced", "CallCancelled"]


def test_a_throttled_coroutine_waits_and_goes_on() -> None:
    async def body(call: LiveCall) -> None:
        for _ in range(3):
            await call.produce(Text("x"))

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        call.throttle(True)
        await asyncio.sleep(1)
        assert inbox.taken == []
        call.throttle(False)

    assert played(body, drive).kinds() == ["CallProduced"] * 3 + ["CallFinished"]


def test_a_stray_exception_is_an_infrastructure_failure_that_names_nothing_of_its_text() -> None:
    async def body(call: LiveCall) -> None:
        raise KeyError("the customer's card number")

    failed = played(body).taken[-1]
    assert isinstance(failed, i.CallFailed)
    assert (failed.outcome, failed.reason) == (OutcomeClass.INFRASTRUCTURE_FAILURE, "adapter_invoke_error")
    assert failed.retryable


def test_a_provider_error_is_told_as_it_is() -> None:
    async def body(call: LiveCall) -> None:
        raise ProviderError(OutcomeClass.OVERLOAD, "busy", retryable=True, circuit=True, retry_after_ms=700)

    assert played(body).taken == [
        i.CallFailed(REQUEST.call_id, 1, OutcomeClass.OVERLOAD, "busy", True, True, 700)
    ]


def test_the_feed_comes_in_order_to_its_last_end() -> None:
    heard: list[object] = []

    async def body(call: LiveCall) -> None:
        heard.extend(
            [item.last if isinstance(item, EndOfFeed) else item.sequence async for item in call.feed()]
        )

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        call.feed(EVENT)
        call.end(False)
        await idle()
        call.feed(EVENT)
        call.end(True)

    played(body, drive)
    assert heard == [1, False, 1, True]


def test_a_coroutine_that_does_not_take_its_feed_fails_as_overloaded() -> None:
    async def body(call: LiveCall) -> None:
        await asyncio.sleep(1_000)

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        for _ in range(FEED_ITEMS_MAX + 1):
            call.feed(EVENT)

    failed = played(body, drive).taken
    assert [one.reason for one in failed if isinstance(one, i.CallFailed)] == ["call_feed_full"]
    assert len(failed) == 1


def test_a_chunk_for_which_the_session_has_no_room_fails_the_call_instead_of_leaving_a_hole() -> None:
    async def body(call: LiveCall) -> None:
        await asyncio.sleep(0.01)
        await call.produce(Text("lost"))
        await call.produce(Text("late"))

    async def drive(call: CoroutineCall, inbox: Inbox) -> None:
        inbox.full = True

    failed = played(body, drive).taken
    assert [one.reason for one in failed if isinstance(one, i.CallFailed)] == ["session_inbox_full"]
    assert len(failed) == 1


def test_a_reply_has_one_end_and_counts_what_comes_after_it() -> None:
    inbox = Inbox()
    over: list[Reply] = []
    reply = Reply(REQUEST, inbox, over.append)
    reply.finish()
    reply.finish()
    reply.stopped()
    reply.fail(ProviderError(OutcomeClass.TIMEOUT, "late"))
    reply.produce(Text("late"))
    reply.score(0.5)
    assert inbox.kinds() == ["CallFinished"]
    assert reply.dropped == 5
    assert over == [reply]


def test_a_task_that_is_begun_after_its_owner_ended_is_cancelled_at_once() -> None:
    async def main() -> None:
        scope = TaskScope(asyncio.get_running_loop(), lambda name, error: None)
        scope.cancel_all()
        task = scope.spawn(asyncio.sleep(1_000), "late")
        assert await scope.wait(1) == []
        assert task.cancelled()

    run_virtual(main())


def test_a_task_that_will_not_end_is_named() -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def stubborn() -> None:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue

        scope = TaskScope(asyncio.get_running_loop(), lambda name, error: None)
        scope.spawn(stubborn(), "stubborn")
        await idle()
        scope.cancel_all()
        assert await scope.wait(0.1) == ["stubborn"]
        over.set()
        assert await scope.wait(0.1) == []

    run_virtual(main())
