"""The three streams of a store: made by whoever comes first, with as many replicas as are asked for, and left as they are."""

from __future__ import annotations

from typing import Any, Final

from rspp.adapters.stores.nats.faults import NO_REPLICAS, NO_STREAM, OTHER_STREAM, Told, UnansweredError
from rspp.adapters.stores.nats.jetstream import Attempt, JetStream
from rspp.contract.errors import MisuseError, PeerFault

KEYS: Final = "keys"
LOGS: Final = "logs"
BLOBS: Final = "blobs"
# How long a stream knows the ids of what it took: longer than any attempt can be on its way, as a server closes a connection that
# answers no ping well before.
DUPLICATES_S: Final = 60
REPLICAS: Final = 3
NS_PER_S: Final = 1_000_000_000


class Streams:
    """Which stream has which shape, below one namespace."""

    def __init__(self, jetstream: JetStream, namespace: str, replicas: int | None) -> None:
        self._jetstream = jetstream
        self.namespace: Final = namespace
        self._replicas = replicas
        self._ready: set[str] = set()  # bounded: the three

    def name(self, shape: str) -> str:
        return f"{self.namespace}_{shape}"

    async def ready(self, shape: str) -> str:
        """The stream's name, once there is such a stream."""
        if shape not in self._ready:
            await self._jetstream.insist(lambda attempt: self._made(shape, attempt))
            self._ready.add(shape)
        return self.name(shape)

    def forget(self) -> None:
        """Somebody says that a stream is not there: ask again."""
        self._ready.clear()

    async def kept(self) -> list[str]:
        """Every stream of the servers by name."""
        found: list[str] = []  # bounded: what the servers keep
        while True:
            question = {"offset": len(found)}
            answer = await self._jetstream.insist(
                lambda one: self._jetstream.call("STREAM.NAMES", question, one.within_s)  # noqa: B023
            )
            page = answer.get("streams") or []
            found.extend(page)
            if not page or len(found) >= int(answer.get("total") or 0):
                return found

    async def drop(self) -> None:
        """The three are gone; one that was never made is gone too."""
        for shape in (KEYS, LOGS, BLOBS):
            await self._jetstream.insist(lambda one: self._gone(shape, one))  # noqa: B023
        self.forget()

    async def _gone(self, shape: str, attempt: Attempt) -> None:
        try:
            await self._jetstream.call(f"STREAM.DELETE.{self.name(shape)}", None, attempt.within_s)
        except Told as told:
            if told.code != NO_STREAM:
                raise told.as_fault() from None

    async def _made(self, shape: str, attempt: Attempt) -> None:
        """There, or made now. Many may do so at once: the same settings are no quarrel."""
        found = await self._found(shape, attempt)
        _is_ours(found if found is not None else await self._create(shape, attempt))

    async def _found(self, shape: str, attempt: Attempt) -> dict[str, Any] | None:
        try:
            return await self._jetstream.call(f"STREAM.INFO.{self.name(shape)}", None, attempt.within_s)
        except Told as told:
            if told.code == NO_STREAM:
                return None
            raise told.as_fault() from None

    async def _create(self, shape: str, attempt: Attempt) -> dict[str, Any]:
        replicas = await self._wanted(attempt)
        settings = self._settings(shape, replicas)
        try:
            return await self._jetstream.call(f"STREAM.CREATE.{self.name(shape)}", settings, attempt.within_s)
        except Told as told:
            if told.code == OTHER_STREAM:  # made meanwhile, by somebody who asked for other replicas
                raise UnansweredError(told.description, sent=False) from None
            if told.code == NO_REPLICAS:
                message = f"{replicas} replicas: the server is alone; ask for replicas=1"
                raise MisuseError("store_replicas_missing", message) from None
            raise told.as_fault() from None

    async def _wanted(self, attempt: Attempt) -> int:
        """A server of a cluster is one of three or more: with fewer, asking fails until somebody says `replicas=1`."""
        if self._replicas is not None:
            return self._replicas
        connection = await self._jetstream.link.connected(attempt.within_s)
        return REPLICAS if connection.is_clustered else 1

    def _settings(self, shape: str, replicas: int) -> dict[str, Any]:
        heads = {KEYS: ("k",), LOGS: ("l",), BLOBS: ("b", "c")}[shape]
        return {
            "name": self.name(shape),
            "subjects": [f"{self.namespace}.{head}.>" for head in heads],
            "storage": "file",
            "retention": "limits",
            "discard": "new",  # a full stream refuses: it never makes room by forgetting
            "num_replicas": replicas,
            "max_msgs_per_subject": -1 if shape == LOGS else 1,
            "duplicate_window": DUPLICATES_S * NS_PER_S,
            "allow_msg_ttl": True,
            "allow_direct": False,
        }


def _is_ours(found: dict[str, Any]) -> None:
    config = found.get("config") or {}
    if not config.get("allow_msg_ttl") or config.get("allow_direct"):
        raise PeerFault(
            "store_damaged",
            f"the stream {config.get('name')} is not as RSPP makes it: name another namespace, or a server "
            "that knows times to live (2.11 or newer)",
        )
