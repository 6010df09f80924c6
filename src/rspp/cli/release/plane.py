"""The control plane, asked by its operations' names: over HTTP with a token, or the store itself. One connection a release."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec

from rspp.cli.control.asking import Whom, asked_of_server
from rspp.cli.release.reports import as_json, write
from rspp.contract.errors import LimitReached, MisuseError, RsppError
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call
from rspp.control.plane import ControlPlane, opened_plane, os_principal
from rspp.server.state import told

MET: Final = "plane.json"
OTHER_PLANE: Final = "release_other_plane"
PAGES_MAX: Final = 100
ITEMS_MAX: Final = 1_000
STATUSES_MAX: Final = 200


class Asks(Protocol):
    """Whom a release asks."""

    # May a request that this process's predecessor sent still be under way?
    outlives: bool

    def ask(self, name: str, **fields: Any) -> Any:
        """The operation's answer as plain data; raises the `RsppError` that it is refused with."""
        ...


class AsksServer:
    """A control plane over HTTP. What was asked before a kill may still be done after it."""

    outlives = True

    def __init__(self, whom: Whom) -> None:
        self._whom = whom

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ask(self, name: str, **fields: Any) -> Any:
        return asked_of_server(self._whom, operation_named(name), fields)


class AsksStore:
    """The store, directly: whoever is logged in is the principal. What was asked ends with the process."""

    outlives = False

    def __init__(self, whom: Whom) -> None:
        self._whom = whom
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._plane: ControlPlane | None = None

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._open.aclose())
        finally:
            self._runner.close()

    def ask(self, name: str, **fields: Any) -> Any:
        return self._runner.run(self._ask(name, fields))

    async def _ask(self, name: str, fields: dict[str, Any]) -> Any:
        operation = operation_named(name)
        if self._plane is None:
            url = self._whom.store or ""
            opened = opened_plane(url, keys=self._whom.keys, within=told)
            self._plane = await self._open.enter_async_context(opened)
        answer = await call(
            self._plane, os_principal(), operation, msgspec.convert(fields, operation.request)
        )
        return msgspec.to_builtins(answer)


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """The control plane that a release has begun to change, known again by its name: its address may be another tomorrow."""

    plane: str


def known_to(plane: Asks, folder: Path) -> str:
    """As whom this release asks; raises MisuseError where this is not the control plane that it has asked before."""
    me = plane.ask("fleet.me")
    path, name = folder / MET, me["plane"]
    if not path.exists():
        write(path, as_json(Met(plane=name)))
    met = read_met(folder)
    if met != name:
        message = f"this release belongs to the control plane {met}, and this is {name}: ask that one"
        raise MisuseError(OTHER_PLANE, message)
    principal: str = me["principal"]
    return principal


def read_met(folder: Path) -> str:
    """Which control plane it belongs to; "" while it has asked none."""
    path = folder / MET
    try:
        return msgspec.json.decode(path.read_bytes(), type=Met).plane if path.exists() else ""
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError("release_unreadable", f"{MET} cannot be read: {error}") from error


def asks(whom: Whom) -> AsksServer | AsksStore:
    return AsksServer(whom) if whom.store is None else AsksStore(whom)


# The control plane was not there, or nobody knows what it did: nothing that a release has done wrong.
AWAY: Final = frozenset({"control_unreachable", "control_unreadable", "audit_sink_write_failed"})


def is_unknown(error: RsppError) -> bool:
    """May what was asked for have been done all the same?"""
    return error.code in AWAY or error.code.startswith("store_")


def pages(plane: Asks, name: str, **fields: Any) -> list[dict[str, Any]]:
    """All items of a list, page after page; raises LimitReached where there are more than PAGES_MAX pages of them."""
    items: list[dict[str, Any]] = []  # bounded: PAGES_MAX pages
    for _ in range(PAGES_MAX):
        answer = plane.ask(name, **fields)
        items += answer["items"]
        if not answer.get("next"):
            return items
        fields["after"] = answer["next"]
    raise LimitReached("payload_too_large", f"{name} has more than {len(items)} entries")
