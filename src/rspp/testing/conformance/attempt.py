"""One call, driven by hand as the host drives it, with everything that was said of it kept in the order it was said.

Unlike the host it drops nothing: what a provider says after the end is what a suite wants to see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Literal, cast

import msgspec

from rspp.contract.event import Audio, Event, Payload, Scope, Text
from rspp.contract.words import CancelMode, CancelReason, EventKind
from rspp.host.calls import CoroutineCall, Reply
from rspp.host.ports import AnyProvider, Call, CallRequest, Chunk, ProviderError, ReactiveProvider
from rspp.kernel.hosting import CLASS_OF, KIND_OF
from rspp.testing.conformance.checks import CheckFailedError

SCOPE: Final = Scope(
    session_id="conformance", tenant_id="conformance", pipeline_version="v1", epoch=1, turn_id="turn-1"
)
SAID_MAX: Final = 20_000
What = Literal["accepted", "chunk", "score", "finished", "failed", "stopped"]
ENDS: Final = ("finished", "failed", "stopped")


class Said(msgspec.Struct, frozen=True):
    """One thing that a provider said."""

    what: What
    value: object = None


class Heard:
    """An Answer that listens, and knows what it heard."""

    def __init__(self) -> None:
        self.said: list[Said] = []  # bounded: SAID_MAX, in `_hear`
        self.ports: set[str] = set()
        self.throttled = False
        self._told = asyncio.Event()

    @property
    def ended(self) -> bool:
        return any(said.what in ENDS for said in self.said)

    @property
    def ends(self) -> list[str]:
        return [said.what for said in self.said if said.what in ENDS]

    @property
    def chunks(self) -> list[Chunk]:
        return [cast(Chunk, said.value) for said in self.said if said.what == "chunk"]

    @property
    def scores(self) -> list[float]:
        return [cast(float, said.value) for said in self.said if said.what == "score"]

    @property
    def texts(self) -> list[Text]:
        return [chunk for chunk in self.chunks if isinstance(chunk, Text)]

    @property
    def audio(self) -> list[Audio]:
        return [chunk for chunk in self.chunks if isinstance(chunk, Audio)]

    @property
    def failure(self) -> ProviderError | None:
        return next((cast(ProviderError, s.value) for s in self.said if s.what == "failed"), None)

    def after_the_end(self) -> list[Said]:
        """What was said when nothing more may be said."""
        at = next((at for at, said in enumerate(self.said) if said.what in ENDS), len(self.said))
        return self.said[at + 1 :]

    async def until(self, condition: Callable[[Heard], object], ms: float, otherwise: str) -> None:
        """Wait until this holds of what was heard; a failed check with this sentence if it does not in time."""
        try:
            async with asyncio.timeout(ms / 1000):
                while not condition(self):
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            raise CheckFailedError(f"{otherwise} within {ms:.0f} ms; it said {self.summary()}") from None

    def summary(self) -> str:
        names = [said.what for said in self.said]
        return ", ".join(f"{name} x{names.count(name)}" for name in dict.fromkeys(names)) or "nothing"

    # ---- the Answer ----------------------------------------------------------------------------------------------

    def accepted(self) -> None:
        self._hear("accepted")

    def produce(self, payload: Chunk, port: str | None = None) -> None:
        if port is not None:
            self.ports.add(port)
        self._hear("chunk", payload)

    def score(self, probability: float) -> None:
        self._hear("score", probability)

    def finish(self, tokens: int = 0) -> None:
        self._hear("finished", tokens)

    def fail(self, error: ProviderError) -> None:
        self._hear("failed", error)

    def stopped(self) -> None:
        self._hear("stopped")

    def _hear(self, what: What, value: object = None) -> None:
        if len(self.said) < SAID_MAX:
            self.said.append(Said(what, value))
        self._told.set()


class Attempt:
    """A call in progress, and what came of it."""

    def __init__(self, provider: AnyProvider, request: CallRequest) -> None:
        self.heard = Heard()
        self.task: asyncio.Task[None] | None = None
        self._sequence = 0
        self._call = self._begin(provider, request)

    def _begin(self, provider: AnyProvider, request: CallRequest) -> Call:
        if isinstance(provider, ReactiveProvider):
            return provider.begin(request, self.heard)
        # The host's own driver of coroutines, which asks no more of a Reply than Heard can do.
        return CoroutineCall(request, cast(Reply, self.heard), provider.run, self._spawn)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self.task = asyncio.get_running_loop().create_task(coroutine, name=name)
        return self.task

    def feed(self, payload: Payload) -> None:
        self._sequence += 1
        self._call.feed(event_of(payload, self._sequence))

    async def feed_all(self, payloads: Sequence[Payload]) -> None:
        """Everything in order, with a breath between, as it comes from a caller."""
        for payload in payloads:
            self.feed(payload)
            await asyncio.sleep(0)

    def end(self, *, last: bool) -> None:
        self._call.end(last)

    def throttle(self, on: bool) -> None:
        self.heard.throttled = on
        self._call.throttle(on)

    def cancel(
        self, mode: CancelMode = CancelMode.HARD, reason: CancelReason = CancelReason.USER_CANCEL
    ) -> None:
        self._call.cancel(reason, mode)

    def kill(self) -> None:
        self._call.kill()


def event_of(payload: Payload, sequence: int = 0, scope: Scope = SCOPE) -> Event:
    """An event that carries this payload, as the kernel would write it."""
    kind = KIND_OF.get(type(payload), EventKind.CONTROL)
    return Event(scope, kind, sequence, 0, payload, CLASS_OF.get(type(payload), CLASS_OF[Text]))
