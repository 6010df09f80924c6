"""The ports that have a suite: what a target of each is, how one is named, and which checks there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from rspp.contract.errors import MisuseError
from rspp.testing.conformance import (
    Check,
    async_node,
    clock,
    inference,
    node,
    pool_strategy,
    provider,
    recorder,
    scheduler,
    store,
    transport,
)
from rspp.testing.conformance.certificate import LOADED, Name
from rspp.testing.conformance.profiles import MANDATORY, mandatory_of
from rspp.testing.conformance.trial import Trial

Option = Literal["fed", "shared"]
MODALITIES: Final = ("stt", "llm", "tts", "vad", "end_of_turn", "external")
# The group of entry points under which a package offers targets, followed by the port's name.
GROUP: Final = "rspp.conformance."


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """One port, for people."""

    name: str
    summary: str
    target: str  # what is expected
    example: str
    options: tuple[Option, ...] = ()  # what may decide which checks there are

    @property
    def mandatory(self) -> tuple[str, ...]:
        return mandatory_of(self.name)


_PROVIDER: Final = (
    "the name of an installed kind (`rspp providers`), a name of a pipeline's provider_settings with --pipeline, or a "
    "factory: f() or f(name, settings) that gives a provider"
)
_ROWS: Final = (
    Port(
        name="store",
        summary="Keys, logs and blobs that outlive a process.",
        target="a store's address (sqlite:///FILE, nats://HOST:PORT?...), or a factory: f() that gives a fresh, empty Store "
        "or StoreTarget, or f(folder) that opens the one in that folder, which is then tried by several at once",
        example="rspp conformance store my_store.py:open_in",
        options=("shared",),
    ),
    *(
        Port(
            name=f"provider{'.' if modality else ''}{modality}",
            summary=f"A provider of {modality}." if modality else "A provider, of whatever modality it says.",
            target=_PROVIDER,
            example=f"rspp conformance provider{'.' if modality else ''}{modality} my_vendor:make --setting model=small",
            options=("fed",) if modality == "external" else (),
        )
        for modality in ("", *MODALITIES)
    ),
    Port(
        name="transport",
        summary="What brings callers, and carries what is said to them.",
        target="a factory: f() that gives a TransportTarget, which is the transport and what brings a caller to it",
        example="rspp conformance transport my_line.py:target",
    ),
    Port(
        name="node",
        summary="A sync node of your own: pure, inside the step.",
        target="a class with a declaration, a name of the group rspp.nodes, a built-in type, or a factory: f() that gives a "
        "NodeTarget",
        example="rspp conformance node spelling.py:Speller --setting length_min=3",
    ),
    Port(
        name="async_node",
        summary="A node that waits: a coroutine for each call.",
        target="a class with a declaration of kind async, or a name of the group rspp.nodes",
        example="rspp conformance async_node lookup.py:Lookup --trial said='the price of tea'",
        options=("fed",),
    ),
    Port(
        name="recorder",
        summary="What keeps a session's record and evidence.",
        target="a factory: f() or f(folder) that gives a RecorderTarget, which is the recorder and how it is read back",
        example="rspp conformance recorder my_recorder.py:target",
    ),
    Port(
        name="clock",
        summary="Time in whole nanoseconds.",
        target="a factory: f() that gives a Clock or a ClockTarget",
        example="rspp conformance clock my_clock.py:Clock",
    ),
    Port(
        name="inference",
        summary="A model that sessions share.",
        target="a factory: f() that gives an InferenceTarget, which is the model and three requests that differ",
        example="rspp conformance inference my_model.py:target",
    ),
    Port(
        name="lane_scheduler",
        summary="The order in which sessions are served.",
        target="a factory or class: f() that gives a LaneScheduler",
        example="rspp conformance lane_scheduler my_order.py:Order",
    ),
    Port(
        name="pool_strategy",
        summary="The order of what waits for a pool.",
        target="a factory or class: f() that gives a PoolStrategy",
        example="rspp conformance pool_strategy my_pool.py:Strategy",
    ),
)
PORTS: Final[Mapping[str, Port]] = {port.name: port for port in _ROWS}
assert PORTS.keys() == MANDATORY.keys()


def port_named(name: str) -> Port:
    """The port of this name; the error lists all of them."""
    if name not in PORTS:
        raise MisuseError(
            "word_unknown", f"there is no port {name[:40]!r}; there are {', '.join(PORTS)}", "port"
        )
    return PORTS[name]


def names_of(port: str, options: Sequence[str] = ()) -> tuple[Name, ...]:
    """Every check of a port's suite, in its order, without a target; the first says that there is one."""
    checks = _checks(port, frozenset(options))
    return (LOADED, *((check.category, check.name) for check in checks))


def _checks(port: str, options: frozenset[str]) -> Sequence[Check]:
    nothing: Any = _no_target
    if port == "store":
        return store.conformance(nothing, shared="shared" in options)
    if port == "async_node":
        return async_node.conformance(nothing, Trial(modality="external", fed="fed" in options))
    if port.startswith("provider"):
        # Without its modality a provider cannot be tried; what all of them are asked is what an external one is.
        modality = port.partition(".")[2] or "external"
        return provider.conformance(nothing, Trial(modality=modality, fed="fed" in options))
    suites: Mapping[str, Any] = {
        "transport": transport,
        "node": node,
        "recorder": recorder,
        "clock": clock,
        "inference": inference,
        "lane_scheduler": scheduler,
        "pool_strategy": pool_strategy,
    }
    return list(suites[port].conformance(nothing))


def _no_target(*_: object) -> object:
    raise MisuseError("conformance_target_wrong", "the names of a suite are had without a target")
