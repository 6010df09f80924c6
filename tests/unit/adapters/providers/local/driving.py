"""A call of a local provider, driven by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from rspp.adapters.providers.local import providers
from rspp.contract.event import Audio, Payload
from rspp.host.ports import AnyProvider, Message
from rspp.testing.conformance.attempt import Attempt, event_of
from rspp.testing.conformance.trial import Trial

Say = Callable[[str], bytes]
ANSWER_MS_MAX = 20_000  # a busy machine is no failure


def silence(ms: int) -> bytes:
    return bytes(32 * ms)


def frames(pcm: bytes, rate: int = 16_000, ms: int = 20) -> list[Audio]:
    size = 2 * rate * ms // 1_000
    pieces = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    return [Audio(p, len(p) // 2, n * size // 2, rate=rate) for n, p in enumerate(pieces)]


def made(name: str, settings: Mapping[str, object] | None = None) -> AnyProvider:
    return providers()[name].factory(name, settings or {})


@asynccontextmanager
async def opened(name: str, settings: Mapping[str, object] | None = None) -> AsyncIterator[AnyProvider]:
    provider = made(name, settings)
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


def attempt(
    provider: AnyProvider,
    said: Payload | None = None,
    config: dict[str, object] | None = None,
    history: tuple[Message, ...] = (),
) -> Attempt:
    request = Trial(modality=provider.info.modality, said=said, config=config or {}).request()
    if history:
        request = type(request)(
            **{name: getattr(request, name) for name in request.__struct_fields__ if name != "history"},
            history=history,
        )
    return Attempt(provider, request)


async def ended(call: Attempt) -> None:
    await call.heard.until(lambda heard: heard.ended, ANSWER_MS_MAX, "the call did not end")


__all__ = ["Say", "attempt", "ended", "event_of", "frames", "made", "opened", "silence"]
