"""What no store takes: names that are none, values without bounds, numbers out of range, and anything once it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rspp.contract.errors import LimitReached, MisuseError
from rspp.host.ports import Entry
from rspp.host.stored import NAME_BYTES_MAX, NUMBER_MAX, TTL_MS_MAX, VALUE_BYTES_MAX
from rspp.testing.conformance.checks import require
from rspp.testing.conformance.store_bench import Row, StoreTarget, an_int, read_log, refused


async def _refuses_names(target: StoreTarget) -> None:
    """A name that is none is refused wherever one is taken; the longest is kept."""
    store = target.store
    for bad in ("", "x" * (NAME_BYTES_MAX + 1), "ü" * (NAME_BYTES_MAX // 2 + 1), "\ud800", b"k", None, 7):
        name: str = bad  # type: ignore[assignment]  # hostile on purpose
        calls = {
            "get": store.get("b", name),
            "get in": store.get(name, "k"),
            "put": store.put("b", name, b""),
            "put in": store.put(name, "k", b""),
            "delete": store.delete("b", name),
            "keys": store.keys(name),
            "watch": anext(store.watch(name)),
            "append": store.append(name, b""),
            "read": read_log(store, name),
            "trim": store.trim(name, 1),
            "put_blob": store.put_blob(name, b""),
            "get_blob": store.get_blob(name),
            "delete_blob": store.delete_blob(name),
        }
        if bad:
            calls |= {"keys under": store.keys("b", name), "blobs under": store.blobs(name)}
        await refused(MisuseError, {f"{what} of {bad!r:.20}": call for what, call in calls.items()})
    for name in ("x" * NAME_BYTES_MAX, "a\0b", "'; --"):
        await store.put(name, name, b"1")
        await store.put_blob(name, b"1")
        await store.append(name, b"1")
        require(await store.keys(name, name) == [name], f"the key {name!r:.20} is not kept as it is")
        require(await store.blobs(name) == [name], f"the blob {name!r:.20} is not kept as it is")
        require(len(await read_log(store, name)) == 1, f"the log {name!r:.20} is not kept as it is")


async def _refuses_values(target: StoreTarget) -> None:
    """What is too large or no bytes is refused, and what stood there stays."""
    store = target.store
    await store.put("b", "k", b"stays")
    await store.put_blob("n", b"stays")
    hostile = {"too many bytes": bytes(VALUE_BYTES_MAX + 1), "text": "text", "a number": 5, "nothing": None}
    for what, bad in hostile.items():
        value: bytes = bad  # type: ignore[assignment]  # hostile on purpose
        kind = LimitReached if isinstance(bad, bytes) else MisuseError
        calls = {
            f"put of {what}": store.put("b", "k", value),
            f"append of {what}": store.append("log", value),
            f"put_blob of {what}": store.put_blob("n", value),
        }
        await refused(kind, calls)
    found = await store.get("b", "k")
    kept = (found.value if found else None, await store.get_blob("n"), await read_log(store, "log"))
    require(kept == (b"stays", b"stays", []), "a value that was refused was kept, or took another's place")


async def _refuses_numbers(target: StoreTarget) -> None:
    store = target.store
    revision = await store.put("b", "k", b"stays")
    for bad in (-1, NUMBER_MAX + 1, "1", 1.5, True):
        number: int = bad  # type: ignore[assignment]  # hostile on purpose
        calls = {
            f"put expecting {bad!r}": store.put("b", "k", b"x", expect=number),
            f"put for {bad!r} ms": store.put("b", "k", b"x", ttl_ms=number),
            f"read after {bad!r}": read_log(store, "log", number),
            f"trim to {bad!r}": store.trim("log", number),
        }
        await refused(MisuseError, calls)
    too_long = store.put("b", "k", b"x", ttl_ms=TTL_MS_MAX + 1)
    await refused(MisuseError, {"put for longer than for ever": too_long})
    require(
        await store.get("b", "k") == Entry("k", b"stays", an_int(revision)), "a refused put changed the value"
    )


async def _refuses_closed(target: StoreTarget) -> None:
    """Closed twice, it is closed; whoever asks for something is told so."""
    store = target.store
    await store.put("b", "k", b"1")
    await store.close()
    await store.close()
    calls = {
        "get": store.get("b", "k"),
        "put": store.put("b", "k", b""),
        "delete": store.delete("b", "k"),
        "keys": store.keys("b"),
        "watch": anext(store.watch("b")),
        "append": store.append("log", b""),
        "read": read_log(store, "log"),
        "trim": store.trim("log", 1),
        "put_blob": store.put_blob("n", b""),
        "get_blob": store.get_blob("n"),
        "delete_blob": store.delete_blob("n"),
        "blobs": store.blobs(),
    }
    await refused(MisuseError, {f"{what} of a closed store": call for what, call in calls.items()})


ROWS: Final[Sequence[Row]] = [
    ("bounds", "refuses names that are none", _refuses_names),
    ("bounds", "refuses values that it cannot keep", _refuses_values),
    ("bounds", "refuses numbers out of range", _refuses_numbers),
    ("lifecycle", "refuses whoever comes after the end", _refuses_closed),
]
