"""A store as a target: by its address, tried beside what lies there and never in it, or from a factory.

At an address nothing that is there is touched: a file is tried with files in a folder of its own beside it, servers with streams
of namespaces of their own, and both are gone afterwards. What is not empty is refused all the same unless it was allowed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rspp.adapters.stores.nats import NatsStore
from rspp.cli.conformance import trials
from rspp.cli.conformance.making import Tried, first, holds
from rspp.cli.conformance.messages import Request, file_of
from rspp.cli.conformance.ports import Port
from rspp.cli.conformance.targets import Loaded, LoadError, arity, call, load, wrong
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.conformance import store as suite
from rspp.testing.conformance.store import StoreTarget

# What the suite writes to; a factory's store must have nothing there.
BUCKETS: Final = ("b", "one", "other")
LOGS: Final = ("log", "trimmed")
SHOWN: Final = 3


def folders(scratch: str) -> Callable[[], Path]:
    """A fresh folder each time."""
    numbers = itertools.count(1)

    def fresh() -> Path:
        folder = Path(scratch) / str(next(numbers))
        folder.mkdir(parents=True)
        return folder

    return fresh


def a_store(port: Port, request: Request) -> Tried:
    trials.checked(request.trial, request.limits)
    if "://" in request.target:
        return _at_address(port, request)
    return _of_factory(port, load(port, request.target), request)


# ---- by its address -------------------------------------------------------------------------------------------------


def _at_address(port: Port, request: Request) -> Tried:
    numbers = itertools.count(1)

    def make() -> StoreTarget:
        address = own_address(request, next(numbers))

        def another() -> Store:
            return open_store(address, Secrets())

        return trials.limited(StoreTarget(store=another(), another=another), request.limits)

    store = open_store(request.target, Secrets())
    asyncio.run(_refuse_used(store, request))
    target = make()
    asyncio.run(_closed(target.store))
    scheme = request.target.partition(":")[0]
    return Tried(
        port=port.name,
        checks=suite.conformance(make, shared=True),
        reference=f"{type(store).__module__}:{type(store).__name__} at a {scheme} address",
        made=(store,),
        options=("shared",),
        patience=target,
    )


def own_address(request: Request, number: int) -> str:
    """Where one check's store is: a file, or a namespace, that nobody else has."""
    if request.target.startswith("sqlite:"):
        return f"sqlite://{Path(request.scratch).absolute() / f'{number}.db'}"
    base, _, query = request.target.partition("?")
    options = [one for one in query.split("&") if one and not one.startswith("namespace=")]
    return f"{base}?{'&'.join([*options, f'namespace={request.namespace}-{number}'])}"


async def _refuse_used(store: Store, request: Request) -> None:
    """Raises for a store in which something lies, unless that is allowed."""
    if not isinstance(store, NatsStore):
        file = file_of(request.target)
        await store.close()
        if file is not None and file.exists() and file.stat().st_size and not request.allow_used:
            raise _used(f"the file {file.name} is there and not empty")
        return
    try:
        kept = await store.kept()
    except RsppError as error:
        raise LoadError(f"the store cannot be reached: {error}") from error
    finally:
        await store.close()
    if kept and not request.allow_used:
        shown = ", ".join(kept[:SHOWN])
        raise _used(f"the servers have {len(kept)} streams ({shown}{', ...' if len(kept) > SHOWN else ''})")


def _used(what: str) -> MisuseError:
    return MisuseError(
        "conformance_store_used",
        f"{what}. Name an empty store, or say --allow-used: the suite then works beside what lies there, and leaves it alone.",
        "target",
    )


def clean(request: Request) -> None:
    """Afterwards, however the run ended: the streams that checks had on servers are deleted, by their names."""
    asyncio.run(_clean(request))


async def _clean(request: Request) -> None:
    look = open_store(request.target, Secrets())
    assert isinstance(look, NatsStore)
    try:
        kept = await look.kept()
    finally:
        await look.close()
    own = {name.rpartition("_")[0] for name in kept if name.startswith(f"{request.namespace}-")}
    for namespace in sorted(own):
        store = open_store(own_address(request, int(namespace.rpartition("-")[2])), Secrets())
        assert isinstance(store, NatsStore)
        try:
            await store.drop()
        finally:
            await store.close()


# ---- from a factory -------------------------------------------------------------------------------------------------


def _of_factory(port: Port, loaded: Loaded, request: Request) -> Tried:
    value: Any = loaded.value
    if not callable(value):
        raise wrong(port, f"it is a {type(value).__name__}, which cannot be called.")
    takes_folder = arity(value) == 1
    fresh = folders(request.scratch)

    def make() -> StoreTarget:
        folder = fresh()

        def another() -> Any:
            return call(port, value, folder)

        made = another()
        if not isinstance(made, StoreTarget):
            made = StoreTarget(store=made, another=another if takes_folder else None)
        return trials.limited(made, request.limits)

    target: StoreTarget = first(make)
    holds(port, target.store, Store)
    asyncio.run(_refuse_full(target.store, request))
    shared = target.another is not None
    return Tried(
        port=port.name,
        checks=suite.conformance(make, shared=shared),
        reference=loaded.reference,
        made=(value, target.store),
        options=("shared",) if shared else (),
        patience=target,
    )


async def _refuse_full(store: Store, request: Request) -> None:
    """A store that has something where the suite writes is somebody's. One that cannot even be asked fails in its checks."""
    try:
        found = [f"blob {name}" for name in await store.blobs()]
        for bucket in BUCKETS:
            found += [f"{bucket}/{key}" for key in await store.keys(bucket)]
        for log in LOGS:
            async for number, _ in store.read(log):
                found.append(f"{log} {number}")
                break
    except Exception:  # noqa: BLE001 - a stranger's store; what it does wrong its checks will say
        return
    finally:
        await _closed(store)
    if found and not request.allow_used:
        raise MisuseError(
            "conformance_store_used",
            f"the store that the factory gives is not empty ({', '.join(found[:SHOWN])}): the suite would write over it. "
            "Let the factory give a fresh one each time, or say --allow-used if all of it may be lost.",
            "target",
        )


async def _closed(store: Store) -> None:
    try:
        await store.close()
    except Exception:  # noqa: BLE001 - likewise
        return
