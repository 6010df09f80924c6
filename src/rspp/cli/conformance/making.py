"""What a name came to, made into something that its port's suite can try: one way a port.

A factory is called anew for each check. What it gives the first time is looked at: whether it is of the port at all, and which of
the port's methods it lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.cli.conformance import trials
from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import Port, port_named
from rspp.cli.conformance.targets import Loaded, LoadError, arity, call, load, wrong
from rspp.host.pools import PoolStrategy
from rspp.host.ports import Clock, Inference, ProviderInfo, Recorder, Transport
from rspp.host.registry import misfit
from rspp.host.scheduler import LaneScheduler
from rspp.testing.conformance import (
    Check,
    clock,
    inference,
    pool_strategy,
    provider,
    recorder,
    scheduler,
    transport,
)
from rspp.testing.conformance.clock import ClockTarget
from rspp.testing.conformance.inference import InferenceTarget
from rspp.testing.conformance.profiles import MANDATORY
from rspp.testing.conformance.recorder import RecorderTarget
from rspp.testing.conformance.transport import TransportTarget


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A target with its checks. `port` may be narrower than what was asked for: a provider of its modality."""

    port: str
    checks: Sequence[Check]
    reference: str
    made: tuple[object, ...]  # whose source is the target's
    options: tuple[str, ...] = ()
    patience: object = None  # what has the limits


class UnfitError(Exception):
    """It is of the port, and lacks something that the port has."""


Making = Callable[[Port, Loaded], Tried]


def first(make: Callable[[], object]) -> Any:
    """What a factory gives the first time, called in a loop as in every check; what it raises is a failure of its own."""

    async def called() -> object:
        return make()

    try:
        return asyncio.run(called())
    except (Exception, SystemExit) as error:
        if type(error).__name__ == "MisuseError" and getattr(error, "code", "") == "conformance_target_wrong":
            raise
        raise LoadError(f"making it raised {type(error).__name__}: {error}") from error


def holds(port: Port, made: object, protocol: type, what: str = "") -> None:
    """It has every member of the port's protocol. With none of them it is something else, and wrongly named."""
    names = [
        name
        for name in (*vars(protocol), *getattr(protocol, "__annotations__", ()))
        if not name.startswith("_")
    ]
    lacking = [name for name in dict.fromkeys(names) if not hasattr(made, name)]
    if len(lacking) == len(dict.fromkeys(names)):
        raise wrong(port, f"{what or 'what it gives'} is a {type(made).__name__}, no {protocol.__name__}.")
    if lacking:
        raise UnfitError(f"its {type(made).__name__} has no {', '.join(lacking)}")


# ---- one way a port -------------------------------------------------------------------------------------------------


def a_provider(port: Port, loaded: Loaded, request: Request) -> Tried:
    def make() -> Any:
        return call(port, loaded.value, *_offers(loaded, request))

    made = first(make)
    info = getattr(made, "info", None)
    if not isinstance(info, ProviderInfo):
        raise wrong(
            port, f"what it gives is a {type(made).__name__} without `info`, a ProviderInfo: no provider."
        )
    asked = port.name.partition(".")[2]
    if fault := misfit(made, asked or info.modality):
        raise UnfitError(fault)
    said = trials.checked(request.trial, request.limits)
    name = f"provider.{info.modality}"
    trial = trials.limited(trials.trial_of(info.modality, said), request.limits)
    return Tried(
        port=name if name in MANDATORY else "provider",
        checks=provider.conformance(make, trial),
        reference=loaded.reference,
        made=(loaded.value, made),
        options=("fed",) if trial.fed else (),
        patience=trial,
    )


def _offers(loaded: Loaded, request: Request) -> tuple[object, ...]:
    """A factory of a registry takes a name and settings; one that takes a single thing takes the settings."""
    settings = dict(request.settings)
    value: Any = loaded.value
    return (settings,) if callable(value) and arity(value) == 1 else (request.target, settings)


def a_transport(port: Port, loaded: Loaded, request: Request) -> Tried:
    trials.checked(request.trial, request.limits)

    def make() -> TransportTarget:
        made = call(port, loaded.value)
        if not isinstance(made, TransportTarget):
            raise wrong(port, f"it gives a {type(made).__name__}, no TransportTarget.")
        return trials.limited(made, request.limits)

    made = first(make)
    holds(port, made.transport, Transport, "its transport")
    return Tried(
        port=port.name,
        checks=transport.conformance(make),
        reference=loaded.reference,
        made=(loaded.value, made.transport),
        patience=made,
    )


def a_recorder(port: Port, loaded: Loaded, request: Request) -> Tried:
    from rspp.cli.conformance.stores import folders  # noqa: PLC0415

    fresh = folders(request.scratch)

    def make() -> RecorderTarget:
        made = call(port, loaded.value, fresh())
        if not isinstance(made, RecorderTarget):
            raise wrong(port, f"it gives a {type(made).__name__}, no RecorderTarget.")
        return made

    made = first(make)
    holds(port, made.recorder, Recorder, "its recorder")
    return _plain(port, loaded, recorder.conformance(make), made.recorder)


def a_clock(port: Port, loaded: Loaded) -> Tried:
    def make() -> ClockTarget:
        made: Any = call(port, loaded.value)
        return made if isinstance(made, ClockTarget) else ClockTarget(clock=made)

    made = first(make)
    holds(port, made.clock, Clock)
    return _plain(port, loaded, clock.conformance(make), made.clock)


def an_inference(port: Port, loaded: Loaded) -> Tried:
    def make() -> InferenceTarget:
        made = call(port, loaded.value)
        if not isinstance(made, InferenceTarget):
            raise wrong(port, f"it gives a {type(made).__name__}, no InferenceTarget.")
        return made

    made = first(make)
    holds(port, made.model, Inference, "its model")
    return _plain(port, loaded, inference.conformance(make), made.model)


def a_scheduler(port: Port, loaded: Loaded) -> Tried:
    def make() -> Any:
        return call(port, loaded.value)

    made = first(make)
    holds(port, made, LaneScheduler)
    return _plain(port, loaded, scheduler.conformance(make), made)


def a_strategy(port: Port, loaded: Loaded) -> Tried:
    def make() -> Any:
        return call(port, loaded.value)

    made = first(make)
    holds(port, made, PoolStrategy)
    return _plain(port, loaded, pool_strategy.conformance(make), made)


def _plain(port: Port, loaded: Loaded, checks: Sequence[Check], made: object) -> Tried:
    return Tried(port=port.name, checks=checks, reference=loaded.reference, made=(loaded.value, made))


def make(request: Request) -> Tried:
    """The target of this request, ready to be tried."""
    from rspp.cli.conformance import kinds, nodes, stores  # noqa: PLC0415 - each port loads what it needs

    port = port_named(request.port)
    if port.name == "store":
        return stores.a_store(port, request)
    if port.name in ("node", "async_node"):
        return nodes.a_node(port, load(port, request.target), request)
    if port.name.startswith("provider"):
        return a_provider(port, kinds.provider_named(port, request), request)
    loaded = load(port, request.target)
    if port.name == "transport":
        return a_transport(port, loaded, request)
    if port.name == "recorder":
        return a_recorder(port, loaded, request)
    return _MAKING[port.name](port, loaded)


_MAKING: Final[Mapping[str, Making]] = {
    "clock": a_clock,
    "inference": an_inference,
    "lane_scheduler": a_scheduler,
    "pool_strategy": a_strategy,
}
