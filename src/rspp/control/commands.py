"""What the control plane wants a worker to do goes through the store: the worker watches its room, obeys, and says how it went.

    commands   <member>/<id>    one command; it expires by itself, because an order that is minutes old is none
    results    <id>             how it went; whoever gave the order waits for this record, within a deadline

A command is carried out at least once: a watch that was broken tells again what has no result yet. Who obeys finds the
session by tenant and name, both of them, so that a command can never reach what is another tenant's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from enum import StrEnum
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached
from rspp.control.names import COMMANDS, RESULTS, encoded, key
from rspp.host.ports import Entry, Store

log = logging.getLogger("rspp.control.commands")

COMMAND_TTL_MS: Final = 60_000
RESULT_TTL_MS: Final = 300_000
# For how long who gave an order waits for its result, if nothing else is said.
DEADLINE_MS: Final = 10_000
# A capture that nobody ends is over after an hour.
DEBUG_MS_MAX: Final = 3_600_000
# Orders that one worker has not obeyed yet. One that falls so far behind obeys nobody; more would only hide it.
WAITING_MAX: Final = 256


class CommandKind(StrEnum):
    CANCEL = "cancel"  # stop what the session says now
    CLOSE = "close"  # end the session
    MIGRATE = "migrate"  # give the session away: its caller comes back elsewhere
    DRAIN = "drain"  # of the whole worker: take nothing new, finish or give away what there is
    DEBUG = "debug"  # have the session tell more of itself, for a while
    RESUME = "resume"  # and this takes it back
    RESET_CIRCUIT = "reset_circuit"  # of a provider, in all its sessions
    RETRY_EXPORT = "retry_export"  # what waits for its export is tried now
    FREE_RECORDINGS = "free_recordings"  # what retention lets go is deleted now
    GIVE_UP_EXPORT = "give_up_export"  # what waits for its export is deleted, and its recordings say so


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"  # understood, and not done: the message says why
    FAILED = "failed"


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One order. `tenant` and `session` are empty where the whole worker is meant."""

    id: str
    kind: CommandKind
    tenant: str = ""
    session: str = ""
    mode: str = ""  # of a drain: drain or migrate
    provider: str = ""  # whose circuit
    for_ms: int = 0  # of a debug capture; 0 ends one
    reason: str = ""
    by: str = ""  # the principal
    at_ms: int = 0


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    id: str
    outcome: Outcome
    message: str = ""
    at_ms: int = 0


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_COMMAND: Final = msgspec.json.Decoder(Command).decode
_RESULT: Final = msgspec.json.Decoder(Result).decode


def new_command_id() -> str:
    return token_hex(16)


def command_of(entry: Entry) -> Command | None:
    """None for what is no command: nobody obeys it."""
    try:
        return _COMMAND(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Commands:
    """Both ends of the wire: who orders sends and waits, who obeys watches and answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # ---- who orders ----------------------------------------------------------------------------------------------

    async def send(self, member: str, command: Command) -> None:
        """Put the order where the member looks. The same order again changes nothing.

        Raises `LimitReached` if the member has too many that it did not obey.
        """
        waiting = await self._store.keys(COMMANDS, f"{encoded(member)}/")
        if len(waiting) >= WAITING_MAX:
            message = f"{member} has {len(waiting)} commands that it has not carried out"
            raise LimitReached("commands_waiting", message)
        await self._store.put(
            COMMANDS, key(member, command.id), _ENCODE(command), expect=0, ttl_ms=COMMAND_TTL_MS
        )

    async def result(self, command_id: str, within_ms: int = DEADLINE_MS) -> Result | None:
        """How it went; None if nobody said so in time, which is not to say that nothing was done."""
        try:
            async with asyncio.timeout(within_ms / 1000), aclosing(self._results(command_id)) as results:
                async for found in results:
                    return found
        except TimeoutError:
            pass
        return None

    async def ask(self, member: str, command: Command, within_ms: int = DEADLINE_MS) -> Result | None:
        await self.send(member, command)
        return await self.result(command.id, within_ms)

    async def _results(self, command_id: str) -> AsyncGenerator[Result, None]:
        name = encoded(command_id)
        async with aclosing(self._store.watch(RESULTS, name)) as entries:  # type: ignore[type-var]
            async for entry in entries:
                if entry.key == name and (found := _result_of(entry)) is not None:
                    yield found

    # ---- who obeys -----------------------------------------------------------------------------------------------

    async def watch(self, member: str) -> AsyncIterator[Command]:
        """The orders for this member, the oldest first, each until it has a result. Ends with the store."""
        async with aclosing(self._store.watch(COMMANDS, f"{encoded(member)}/")) as entries:  # type: ignore[type-var]
            async for entry in entries:
                command = command_of(entry)
                if command is None or entry.key != key(member, command.id):
                    log.warning("a record among the commands of %s is none, and is left alone", member)
                elif await self._store.get(RESULTS, encoded(command.id)) is None:
                    yield command

    async def answer(self, member: str, result: Result) -> None:
        """Say how it went, once: of two answers the first stays. The order is then taken away."""
        await self._store.put(RESULTS, encoded(result.id), _ENCODE(result), expect=0, ttl_ms=RESULT_TTL_MS)
        await self._store.delete(COMMANDS, key(member, result.id))


def _result_of(entry: Entry) -> Result | None:
    try:
        return _RESULT(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
