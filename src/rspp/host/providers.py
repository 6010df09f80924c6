"""The providers of a host: made once for each id and its settings, opened before the first call, closed after the last.

A provider is shared by all sessions that name it alike. One whose opening failed is asked again at each later opening, and
until then its calls fail with the reason: the kernel switches to the next candidate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.surface import Row
from rspp.host.meters import Meters
from rspp.host.ports import OPEN_MS_MAX, AnyProvider, Checked, CountsItself, HoldsSessions, TellsRows
from rspp.host.registry import Registry, settings_of
from rspp.host.session import not_ready
from rspp.spec.graph import GraphDefinition

CLOSE_S_MAX: Final = 5.0
CHECK_S_MAX: Final = 2.0
_ENCODE: Final = msgspec.json.Encoder(order="deterministic")


class _Shared:
    """One provider, and how far it is."""

    __slots__ = ("failure", "holder", "opening", "provider", "ready", "unreachable")

    def __init__(self, provider: AnyProvider) -> None:
        self.provider = provider
        self.holder = provider if isinstance(provider, HoldsSessions) else None
        self.ready = False
        self.failure: str | None = None
        self.unreachable: str | None = (
            None  # what the last check found; calls are made all the same, and judged by themselves
        )
        self.opening = asyncio.Lock()


class Readiness(msgspec.Struct, frozen=True):
    """Whether a provider takes calls, and if not, why."""

    name: str
    ready: bool
    failure: str | None = None


class Providers:
    """Every provider of every pipeline that is served."""

    def __init__(
        self,
        registry: Registry,
        blame: Callable[[str, BaseException], None],
        meters: Meters | None = None,
    ) -> None:
        """`meters` are the host's, with which those of providers that count for themselves are shown."""
        self._registry = registry
        self._blame = blame
        self._meters = meters
        self._shared: dict[tuple[str, bytes], _Shared] = {}
        # by (fingerprint, name that the kernel asks for)
        self._bound: dict[tuple[str, str], _Shared] = {}

    def bind(self, graph: GraphDefinition, registry: Registry | None = None) -> None:
        """Make what the graph names; raises for what cannot be made, before any caller is there."""
        registry = registry or self._registry
        made: dict[tuple[str, bytes], _Shared] = {}
        bound: dict[tuple[str, str], _Shared] = {}
        for wanted, name in registry.bindings(graph).items():
            settings = settings_of(graph, name)
            key = (name, _ENCODE.encode(dict(settings)))
            shared = self._shared.get(key) or made.get(key)
            if shared is None:
                shared = made[key] = _Shared(registry.make(name, settings))
                if self._meters is not None and isinstance(shared.provider, CountsItself):
                    self._meters.include(shared.provider.meters)
            bound[graph.fingerprint, wanted] = shared
        # Of a graph that cannot be served nothing stays.
        self._shared.update(made)
        self._bound.update(bound)
        self._registry = registry

    async def open(self) -> list[Readiness]:
        """Open everything that is not open yet, side by side."""
        return list(await asyncio.gather(*(self._open(name, s) for (name, _), s in self._shared.items())))

    async def _open(self, name: str, shared: _Shared) -> Readiness:
        async with shared.opening:
            if not shared.ready:
                try:
                    async with asyncio.timeout(OPEN_MS_MAX / 1000):
                        await shared.provider.open()
                except TimeoutError:
                    shared.failure = f"did not open within {OPEN_MS_MAX // 1000} s"
                except RsppError as error:
                    shared.failure = error.message
                except Exception as error:  # noqa: BLE001 - supervised: a provider that cannot open is not ready, and says why
                    # Not its words, which may quote a key: those are for the log, where secrets are scrubbed.
                    shared.failure = f"it raised {type(error).__name__}"
                    self._blame(f"provider {name}", error)
                else:
                    shared.ready, shared.failure = True, None
            return Readiness(name, shared.ready, shared.failure)

    def find(self, graph: GraphDefinition, name: str) -> AnyProvider:
        """Who serves this name of this graph; raises `ProviderError` when nobody is ready to."""
        shared = self._bound.get((graph.fingerprint, name))
        if shared is None:
            raise not_ready(name, "it is bound to nothing")
        if not shared.ready:
            raise not_ready(name, shared.failure or "it is not open yet")
        return shared.provider

    def release(self, session_id: str) -> None:
        """A session is over: whoever keeps something for it may let it go."""
        for (name, _), shared in self._shared.items():
            if shared.holder is not None and shared.ready:
                try:
                    shared.holder.release(session_id)
                except Exception as error:  # noqa: BLE001 - supervised: the session is over for everybody else all the same
                    self._blame(f"provider {name}", error)

    async def check(self) -> None:
        """Ask those that can be asked whether what stands behind them answers. It changes nothing but `readiness`."""
        await asyncio.gather(*(self._check(name, one) for (name, _), one in list(self._shared.items())))

    async def _check(self, name: str, shared: _Shared) -> None:
        provider = shared.provider
        if not shared.ready or not isinstance(provider, Checked):
            return
        try:
            async with asyncio.timeout(CHECK_S_MAX):
                await provider.check()
        except TimeoutError:
            shared.unreachable = f"did not answer within {CHECK_S_MAX:.0f} s"
        except RsppError as error:
            shared.unreachable = error.message
        except Exception as error:  # noqa: BLE001 - supervised: as for a provider that cannot open
            shared.unreachable = f"its check raised {type(error).__name__}"
            self._blame(f"provider {name}", error)
        else:
            shared.unreachable = None

    def readiness(self) -> list[Readiness]:
        return [
            Readiness(name, s.ready and s.unreachable is None, s.failure or s.unreachable)
            for (name, _), s in self._shared.items()
        ]

    def rows(self) -> list[Row]:
        """What providers say of themselves, where they do."""
        return [
            row
            for one in self._shared.values()
            if isinstance(one.provider, TellsRows)
            for row in one.provider.rows()
        ]

    async def close(self) -> None:
        for (name, _), shared in self._shared.items():
            if shared.ready:
                shared.ready = False
                try:
                    async with asyncio.timeout(CLOSE_S_MAX):
                        await shared.provider.close()
                except Exception as error:  # noqa: BLE001 - supervised: the others are closed all the same
                    shared.failure = f"did not close: {type(error).__name__}"
                    self._blame(f"provider {name}", error)


__all__ = ["Providers", "Readiness"]
