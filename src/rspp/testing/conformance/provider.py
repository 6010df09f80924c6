"""What every provider must do, whatever is behind it: answer, end once, stop when told, and harm nobody.

    checks = provider.conformance(lambda: MyTranscriber("mine", {}), trial=Trial(modality="stt", speech=my_frames, ...))

`make` gives a fresh provider each time, not opened yet. Each check opens it, makes calls as the host would, and closes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from rspp.contract.event import Audio, Signal, Text
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import CancelMode, OutcomeClass
from rspp.host.ports import AnyProvider, CountsItself, ProviderError
from rspp.kernel.calls import scrubbed
from rspp.spec.graph import ISOLATED
from rspp.testing.conformance import provider_output as output
from rspp.testing.conformance.attempt import Attempt, Heard
from rspp.testing.conformance.checks import Check, NotApplicableError, require
from rspp.testing.conformance.metrics import undeclared
from rspp.testing.conformance.trial import Trial, usual

MakeProvider = Callable[[], AnyProvider]
MODALITIES: Final = ("stt", "llm", "tts", "vad", "end_of_turn", "external", ISOLATED)
# A busy machine may stop any process for a while; who blocks does so each time.
BLOCKED_TRIES: Final = 3
HEARTBEAT_S: Final = 0.002


def conformance(make: MakeProvider, trial: Trial | None = None) -> list[Check]:
    """The suite for this provider's modality; without a trial it is tried with what is usual for it."""
    bench = Bench(make, trial or usual(make().info.modality))
    bodies = [*IDENTITY, *LIFECYCLE, *OUTCOME, *output.CHECKS, *CANCELLATION, *ISOLATION]
    bodies += LISTENING if bench.trial.listens else SPEAKING
    if bench.trial.modality == "stt":
        bodies += output.RECOGNITION
    return checks_of(bodies, bench)


def checks_of(bodies: Sequence[Row], bench: Bench) -> list[Check]:
    return [Check(category, name, _bound(body, bench)) for category, name, body in bodies]


class Bench:
    """A provider's maker and what it is tried with."""

    def __init__(self, make: MakeProvider, trial: Trial) -> None:
        self.make = make
        self.trial = trial

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AnyProvider]:
        provider = self.make()
        await provider.open()
        try:
            yield provider
        finally:
            await provider.close()

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[Attempt]:
        """One call of an open provider, which is killed if the check leaves it running."""
        async with self.opened() as provider:
            attempt = Attempt(provider, self.trial.request())
            try:
                yield attempt
            finally:
                attempt.kill()
                if attempt.task is not None:
                    await asyncio.wait([attempt.task], timeout=1)

    async def whole(self, attempt: Attempt) -> Heard:
        """A call from its beginning to its end."""
        if self.trial.listens:
            await attempt.feed_all((*self.trial.speech, *self.trial.silence))
        attempt.end(last=True)
        return await self.ended(attempt)

    async def ended(self, attempt: Attempt) -> Heard:
        await attempt.heard.until(lambda h: h.ended, self.trial.answer_ms_max, "the call did not end")
        return attempt.heard

    async def settle(self) -> None:
        await asyncio.sleep(self.trial.settle_ms / 1000)


Body = Callable[[Bench], Awaitable[None]]
Row = tuple[str, str, Body]


def _bound(body: Body, bench: Bench) -> Callable[[], Awaitable[None]]:
    return lambda: body(bench)


# ---- identity and lifecycle -----------------------------------------------------------------------------------------


async def _names_itself(bench: Bench) -> None:
    info = bench.make().info
    require(info.name and info.version, "info has an empty name or version")
    require(info.modality in MODALITIES, f"modality {info.modality!r} is not one of {', '.join(MODALITIES)}")
    require(
        info.modality == bench.trial.modality, f"it is a {info.modality}, tried as a {bench.trial.modality}"
    )
    wrong = [rate for rate in info.rates if rate not in RATES_HZ]
    require(not wrong, f"rates {wrong} are not served; they are {RATES_HZ}")


async def _same_when_open(bench: Bench) -> None:
    provider = bench.make()
    before = provider.info
    await provider.open()
    after = provider.info
    await provider.close()
    require(
        (before.name, before.modality) == (after.name, after.modality), "opening changed its name or modality"
    )


async def opens_and_closes(bench: Bench) -> None:
    async with bench.opened():
        pass


async def _leaves_no_task(bench: Bench) -> None:
    before = asyncio.all_tasks()
    async with bench.attempt() as attempt:
        await bench.whole(attempt)
    await bench.settle()
    left = [task.get_name() for task in asyncio.all_tasks() - before]
    require(not left, f"tasks were left running after close: {', '.join(sorted(left))}")


async def _serves_again(bench: Bench) -> None:
    async with bench.opened() as provider:
        for number in (1, 2):
            heard = await bench.whole(Attempt(provider, bench.trial.request(number)))
            require(heard.ends[0] == "finished", f"call {number} ended as {heard.ends[0]}: {heard.failure}")


async def _counts_as_declared(bench: Bench) -> None:
    """What it counts of itself has the names and labels of the one table: then one query covers all adapters."""
    async with bench.opened() as provider:
        if not isinstance(provider, CountsItself):
            raise NotApplicableError("it has no meters of its own: the host counts for it")
        await bench.whole(Attempt(provider, bench.trial.request()))
        faults = undeclared(provider.meters.read())
        require(not faults, "; ".join(faults))


IDENTITY: Final[Sequence[Row]] = [
    ("identity", "says what it is", _names_itself),
    ("identity", "stays what it is when opened", _same_when_open),
    ("identity", "counts under declared names and labels", _counts_as_declared),
]
LIFECYCLE: Final[Sequence[Row]] = [
    ("lifecycle", "opens and closes without a call", opens_and_closes),
    ("lifecycle", "leaves no task behind", _leaves_no_task),
    ("lifecycle", "serves one call after another", _serves_again),
]

# ---- how a call ends ------------------------------------------------------------------------------------------------


async def _finishes(bench: Bench) -> None:
    async with bench.attempt() as attempt:
        heard = await bench.whole(attempt)
        require(heard.ends[0] == "finished", f"the call ended as {heard.ends[0]}: {heard.failure}")


async def _ends_once(bench: Bench) -> None:
    async with bench.attempt() as attempt:
        await bench.whole(attempt)
        await bench.settle()
        ends = attempt.heard.ends
        require(len(ends) == 1, f"the call ended {len(ends)} times: {', '.join(ends)}")


async def _silent_after_end(bench: Bench) -> None:
    async with bench.attempt() as attempt:
        await bench.whole(attempt)
        await bench.settle()
        late = [
            said.what for said in attempt.heard.after_the_end() if said.what in ("accepted", "chunk", "score")
        ]
        require(not late, f"after the end it still said: {', '.join(late)}")


async def _deaf_after_end(bench: Bench) -> None:
    """What was on its way when a call ended does no harm."""
    async with bench.attempt() as attempt:
        await bench.whole(attempt)
        said = len(attempt.heard.said)
        for payload in bench.trial.speech[:3]:
            attempt.feed(payload)
        attempt.end(last=False)
        attempt.end(last=True)
        attempt.throttle(False)
        attempt.cancel()
        await bench.settle()
        more = [s.what for s in attempt.heard.said[said:]]
        require(not more, f"told something after the end, it answered: {', '.join(more)}")


OUTCOME: Final[Sequence[Row]] = [
    ("outcome", "finishes a call", _finishes),
    ("outcome", "ends each call once", _ends_once),
    ("outcome", "says nothing after the end", _silent_after_end),
    ("outcome", "ignores what it is told after the end", _deaf_after_end),
]

# ---- cancellation ---------------------------------------------------------------------------------------------------


async def _stops(bench: Bench, mode: CancelMode, *, under_way: bool) -> None:
    """A cancel is acknowledged once, in time, and nothing follows it."""
    trial = bench.trial
    async with bench.attempt() as attempt:
        heard = attempt.heard
        if under_way and trial.listens:
            await attempt.feed_all(trial.speech)
        elif under_way:
            await heard.until(lambda h: h.chunks or h.ended, trial.answer_ms_max, "it gave nothing")
        if heard.ended:
            raise NotApplicableError(
                "the call was over before it could be cancelled; give it a longer answer"
            )
        attempt.cancel(mode)
        await heard.until(lambda h: h.ended, trial.cancel_ms_max, f"a {mode} cancel was not acknowledged")
        await bench.settle()
        late = [said.what for said in heard.after_the_end()]
        require(not late, f"after it had acknowledged the cancel it said: {', '.join(late)}")
        # It may have been done in the same instant; a failure is no way to stop.
        require(heard.ends[0] in ("stopped", "finished"), f"a cancelled call ended as {heard.ends[0]}")


async def _stops_hard(bench: Bench) -> None:
    await _stops(bench, CancelMode.HARD, under_way=True)


async def _stops_soft(bench: Bench) -> None:
    await _stops(bench, CancelMode.SOFT, under_way=True)


async def _stops_early(bench: Bench) -> None:
    await _stops(bench, CancelMode.HARD, under_way=False)


async def _dies(bench: Bench) -> None:
    """When the grace is over it is silent, whether it had acknowledged or not."""
    async with bench.attempt() as attempt:
        heard = attempt.heard
        if bench.trial.listens:
            await attempt.feed_all(bench.trial.speech)
        else:
            await heard.until(lambda h: h.chunks or h.ended, bench.trial.answer_ms_max, "it gave nothing")
        if heard.ended:
            raise NotApplicableError("the call was over before it could be killed; give it a longer answer")
        attempt.kill()
        await asyncio.sleep(0)
        said = len(heard.said)
        if bench.trial.listens:
            await attempt.feed_all((*bench.trial.speech, *bench.trial.silence))
            attempt.end(last=False)
        await bench.settle()
        late = [s.what for s in heard.said[said:] if s.what in ("accepted", "chunk", "score")]
        require(not late, f"killed, it still said: {', '.join(late)}")


CANCELLATION: Final[Sequence[Row]] = [
    ("cancellation", "acknowledges a hard cancel once, and is silent", _stops_hard),
    ("cancellation", "acknowledges a soft cancel once, and is silent", _stops_soft),
    ("cancellation", "can be cancelled before it gave anything", _stops_early),
    ("cancellation", "is silent when killed", _dies),
]

# ---- what must not disturb others ---------------------------------------------------------------------------------


async def _calls_apart(bench: Bench) -> None:
    """Calls side by side give each its own output, and cancelling one does not touch the others."""
    async with bench.opened() as provider:
        one, *others = (Attempt(provider, bench.trial.request(number)) for number in (1, 2, 3))
        if bench.trial.listens:
            await one.feed_all(bench.trial.speech[:5])
        one.cancel()
        for heard in await asyncio.gather(*(bench.whole(other) for other in others)):
            require(heard.ends[0] == "finished", f"cancelling its neighbour ended a call as {heard.ends[0]}")
            output.in_order(heard)
        one.kill()


async def _odd_input(bench: Bench) -> None:
    """Input it cannot use is ignored, or fails the call as ProviderError; it is never raised at the host."""
    async with bench.attempt() as attempt:
        for payload in (
            Text("", final=True, role="user"),
            Signal("digit_pressed", "RK-02"),
            Audio(b"", 0, 0, end=True),
            Audio(b"\x01", 1, 7),
            Audio(bytes(7), 1, 3, rate=0),
        ):
            attempt.feed(payload)
        attempt.end(last=False)
        attempt.end(last=True)
        heard = await bench.ended(attempt)
        _failed_well(heard)


async def _no_event(bench: Bench) -> None:
    """A call without its input fails as ProviderError, or finishes."""
    if bench.trial.listens:
        raise NotApplicableError("it is fed, not asked")
    trial = Trial(modality=bench.trial.modality, config=bench.trial.config)
    async with bench.opened() as provider:
        attempt = Attempt(provider, trial.request())
        attempt.end(last=True)
        heard = await bench.ended(attempt)
        _failed_well(heard)


def _failed_well(heard: Heard) -> None:
    error = heard.failure
    if error is None:
        return
    require(
        isinstance(error, ProviderError), f"failed with a {type(error).__name__}, which is no ProviderError"
    )
    require(error.outcome is not OutcomeClass.SUCCESS, "failed with the outcome success")
    require(not error.reason.startswith("adapter_invoke_error"), f"let an exception out: {error.reason}")
    require(
        error.reason and scrubbed(error.reason) == error.reason,
        "the reason of a failure is one word of a table",
    )


async def _never_blocks(bench: Bench) -> None:
    blocked = min([await _blocked_ms(bench) for _ in range(BLOCKED_TRIES)])
    limit = bench.trial.blocked_ms_max
    require(blocked <= limit, f"it held the loop for {blocked:.0f} ms; at most {limit:.0f} ms are allowed")


async def _blocked_ms(bench: Bench) -> float:
    """The longest time during a call in which nobody else could run."""
    worst = 0.0
    async with bench.attempt() as attempt:

        async def beat() -> None:
            nonlocal worst
            while True:
                since = time.perf_counter()
                await asyncio.sleep(HEARTBEAT_S)
                worst = max(worst, time.perf_counter() - since - HEARTBEAT_S)

        heart = asyncio.get_running_loop().create_task(beat())
        await asyncio.sleep(0)
        async with bench.opened() as provider:
            since = time.perf_counter()
            second = Attempt(provider, bench.trial.request(2))
            worst = max(worst, time.perf_counter() - since)
            await bench.whole(second)
        await bench.whole(attempt)
        heart.cancel()
        await asyncio.wait([heart])
    return worst * 1000


ISOLATION: Final[Sequence[Row]] = [
    ("isolation", "keeps its calls apart", _calls_apart),
    ("isolation", "survives input it cannot use", _odd_input),
    ("isolation", "survives a call without input", _no_event),
    ("isolation", "never blocks the loop", _never_blocks),
]

# ---- by how it is used ----------------------------------------------------------------------------------------------


async def _throttled(bench: Bench) -> None:
    """Nobody reads: it stops, and goes on when somebody does."""
    trial = bench.trial
    async with bench.attempt() as attempt:
        heard = attempt.heard
        await heard.until(lambda h: h.chunks or h.ended, trial.answer_ms_max, "it gave nothing")
        if heard.ended:
            raise NotApplicableError("the call was over with its first chunk; give it a longer answer")
        attempt.throttle(True)
        before = len(heard.chunks)
        await bench.settle()
        extra = len(heard.chunks) - before
        require(
            extra <= trial.chunks_after_throttle_max,
            f"throttled, it gave {extra} chunks more; at most {trial.chunks_after_throttle_max} may be on their way",
        )
        if not heard.ended:
            attempt.throttle(False)
            attempt.end(last=True)
            await bench.ended(attempt)
            require(heard.ends[0] == "finished", f"throttled and released, the call ended as {heard.ends[0]}")


async def _accepts(bench: Bench) -> None:
    """A call that lasts is accepted at once: the kernel takes silence for a failure otherwise."""
    async with bench.attempt() as attempt:
        await attempt.heard.until(
            lambda h: h.said, bench.trial.answer_ms_max, "it neither accepted nor spoke"
        )


SPEAKING: Final[Sequence[Row]] = [("backpressure", "stops while nobody reads, and goes on after", _throttled)]
LISTENING: Final[Sequence[Row]] = [("lifecycle", "accepts the call before it hears anything", _accepts)]
