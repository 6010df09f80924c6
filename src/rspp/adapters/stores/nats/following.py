"""Reading a stream on and on: what is there behind a number, then what comes, each message once and in order.

The server keeps the place in a consumer of its own, which lives in memory and dies when nobody asks for a while. Whatever
happens to it, to its server or to the connection, a new one is made behind the last message that was seen. Messages are asked
for in bounded lots: who does not read on is sent nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from rspp.adapters.stores.nats.faults import NO_STREAM, Told, UnansweredError
from rspp.adapters.stores.nats.jetstream import API, PAUSE_S, PAUSE_S_MAX, JetStream, Stored
from rspp.adapters.stores.nats.link import Connection, Ear
from rspp.adapters.stores.nats.mailbox import Letters
from rspp.adapters.stores.nats.streams import Streams
from rspp.contract.errors import PeerFault, RsppError

LOT_MAX: Final = 128
# Beside the largest message, which always fits.
LOT_BYTES_MAX: Final = 1024 * 1024
# The server says that it is still there so often; two that are missing mean that it is not.
HEARTBEAT_S: Final = 1.0
# How long one question waits for messages before it is asked again.
LOT_S: Final = 10.0
# A consumer that nobody asks for so long is forgotten by the server.
IDLE_S: Final = 30
NS_PER_S: Final = 1_000_000_000
_AGAIN: Final = ("408", "404")  # nothing came; the consumer is well


class Place(msgspec.Struct):
    """A consumer on one connection: what it has been told so far."""

    connection: Connection
    ear: Ear
    letters: Letters
    consumer: str
    pending: int  # messages that it still has, by the server's last word
    delivered: int = 0


class Following:
    """One reader of one stream's subjects. `messages` ends when `stop` is called; a None says that nothing more is there yet."""

    def __init__(self, jetstream: JetStream, streams: Streams, shape: str, filtered: str, after: int) -> None:
        self._jetstream = jetstream
        self._streams = streams
        self._shape = shape
        self._filtered = filtered
        self._seen = after
        self._stopped = False
        self._letters: Letters | None = None

    def stop(self) -> None:
        self._stopped = True
        if self._letters is not None:
            self._letters.take(None)

    async def messages(self) -> AsyncIterator[Stored | None]:
        """Raises when the first consumer cannot be made; later ones are tried for as long as anybody reads."""
        stream = await self._streams.ready(self._shape)
        place: Place | None = await self._begun(stream)
        try:
            while not self._stopped:
                if place is None:
                    place = await self._begun_again(stream)
                    continue
                if place.pending == 0:
                    yield None
                lot = self._lot(stream, place)
                try:
                    async for stored in lot:
                        yield stored
                except UnansweredError:
                    left, place = place, None
                    await left.ear.close()
                finally:
                    await lot.aclose()
        finally:
            if place is not None:
                await self._forget(stream, place)

    async def _lot(self, stream: str, place: Place) -> Any:
        """The next messages. Raises `UnansweredError` when the consumer is of no use any more."""
        most = max(LOT_BYTES_MAX, place.connection.payload_bytes_max + LOT_BYTES_MAX)
        question = {
            "batch": LOT_MAX,
            "max_bytes": most,
            "expires": int(LOT_S * NS_PER_S),
            "idle_heartbeat": int(HEARTBEAT_S * NS_PER_S),
        }
        subject = f"{API}.CONSUMER.MSG.NEXT.{stream}.{place.consumer}"
        await place.connection.send(subject, json.dumps(question).encode(), place.ear.subject, None)
        left = LOT_MAX
        while left:
            letter = await place.letters.next(2 * HEARTBEAT_S)
            if self._stopped:
                return
            if letter is None:
                raise UnansweredError("the consumer says nothing", sent=False)
            status = (letter.headers or {}).get("Status")
            if status is not None:
                if _is_over(status, letter):
                    return
                continue
            left -= 1
            stored = self._taken(place, letter)
            if stored is not None:
                yield stored
                if place.pending == 0:
                    yield None

    def _taken(self, place: Place, letter: Msg) -> Stored | None:
        """The message, unless it was seen; raises when one before it went missing on the way."""
        sequence, delivered, place.pending = _numbers(letter.reply)
        if delivered != place.delivered + 1:
            raise UnansweredError("a message went missing", sent=False)
        place.delivered = delivered
        if sequence <= self._seen:
            return None
        self._seen = sequence
        return Stored(letter.subject, sequence, dict(letter.headers or {}), letter.data)

    async def _begun(self, stream: str) -> Place:
        try:
            return await self._jetstream.insist(lambda one: self._placed(stream, one.within_s))
        except Told as told:
            if told.code == NO_STREAM:
                self._streams.forget()
            raise told.as_fault() from None

    async def _begun_again(self, stream: str) -> Place | None:
        pause_s = PAUSE_S
        while not self._stopped:
            try:
                await self._streams.ready(self._shape)
                return await self._begun(stream)
            except RsppError:  # whoever reads cannot be told; they wait, as for a change that does not come
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_S_MAX)
        return None

    async def _placed(self, stream: str, within_s: float) -> Place:
        if self._stopped:
            raise PeerFault("store_unreachable", "the store is being closed")
        connection = await self._jetstream.link.connected(within_s)
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._seen + 1,
            "filter_subject": self._filtered,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": IDLE_S * NS_PER_S,
            "mem_storage": True,
            "num_replicas": 1,
        }
        question = {"stream_name": stream, "config": config}
        found = await self._jetstream.call(f"CONSUMER.CREATE.{stream}", question, within_s)
        letters = self._letters = Letters()
        ear = await connection.listen(letters.take)
        return Place(connection, ear, letters, str(found["name"]), int(found.get("num_pending") or 0))

    async def _forget(self, stream: str, place: Place) -> None:
        """The server would find out by itself, later; nobody waits for its answer."""
        await place.ear.close()
        with suppress(UnansweredError):
            subject = f"{API}.CONSUMER.DELETE.{stream}.{place.consumer}"
            await place.connection.send(subject, b"", "", None)


def _is_over(status: str, letter: Msg) -> bool:
    """Whether this lot is; raises when the consumer is."""
    if status == "100":
        return False
    description = ((letter.headers or {}).get("Description") or "").lower()
    if status in _AGAIN or "batch completed" in description or "exceeds maxbytes" in description:
        return True
    raise UnansweredError(f"the consumer ended: {status} {description}", sent=False)


def _numbers(reply: str) -> tuple[int, int, int]:
    """The stream's number, the consumer's, and how many are left, out of an acknowledgement's address."""
    parts = reply.split(".")
    first = 4 if len(parts) == 9 else 6  # with the domain and the account before the stream's name
    try:
        return int(parts[first + 1]), int(parts[first + 2]), int(parts[first + 4])
    except (IndexError, ValueError):
        raise PeerFault("store_damaged", "a message of the server tells no numbers") from None
