"""What is asked of JetStream, and how long: every question is asked again within its deadline while nobody answers it.

Reads go to a stream's leader, by its management interface and never by "direct get", which any follower answers: one that
lags would say that a key is as it was before a write that was acknowledged. What is left is a leader that was cut off and does
not know yet that there is another: until it gives up, some seconds later, those on its side of the cut read what was true
before. No compare-and-set succeeds there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from rspp.adapters.stores.nats import faults
from rspp.adapters.stores.nats.faults import NO_MESSAGE, Told, UnansweredError
from rspp.adapters.stores.nats.link import Link
from rspp.contract.errors import PeerFault

T = TypeVar("T")

# The first attempt's patience, and the most that a later one has, for servers that are merely slow. Not more: what was sent
# before an election is not answered after it.
ATTEMPT_S: Final = 1.0
ATTEMPT_S_MAX: Final = 2.0
PAUSE_S: Final = 0.05
PAUSE_S_MAX: Final = 0.25
API: Final = "$JS.API"
EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID: Final = "Nats-Msg-Id"


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One message of a stream."""

    subject: str
    sequence: int
    headers: dict[str, str]
    data: bytes


class Attempt(msgspec.Struct):
    """One of several: what it may take, and whether an earlier one may have been done."""

    within_s: float
    unsure: bool = False


class JetStream:
    """Questions to the server, each within its own deadline."""

    def __init__(self, link: Link, deadline_s: float) -> None:
        self.link: Final = link
        self.deadline_s: Final = deadline_s

    async def insist(self, once: Callable[[Attempt], Awaitable[T]]) -> T:
        """What an attempt comes to, until one is answered or the deadline is over."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.deadline_s
        attempt = Attempt(min(ATTEMPT_S, self.deadline_s))
        pause_s = PAUSE_S
        while True:
            try:
                return await once(attempt)
            except UnansweredError as error:
                attempt.unsure = attempt.unsure or error.sent
                left = deadline - clock()
                if left <= pause_s:
                    raise faults.unreachable(str(error), self.deadline_s, sent=attempt.unsure) from None
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
            attempt.within_s = max(min(2 * attempt.within_s, ATTEMPT_S_MAX, deadline - clock()), PAUSE_S)

    # ---- once ----------------------------------------------------------------------------------------------------

    async def call(self, what: str, question: Mapping[str, object] | None, within_s: float) -> dict[str, Any]:
        """One question to the management interface, asked once. Raises `Told` what the server has against it."""
        payload = b"" if question is None else json.dumps(question).encode()
        return _answer((await self.link.ask(f"{API}.{what}", payload, within_s)).data)

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str], within_s: float) -> int:
        """The number that the stream gave it, once it is kept by as many as it must be."""
        answer = _answer((await self.link.ask(subject, data, within_s, headers)).data)
        sequence = answer.get("seq")
        if not isinstance(sequence, int) or sequence < 1:
            raise PeerFault("store_damaged", "the server took a message and gave it no number")
        return sequence

    async def last(self, stream: str, subject: str, within_s: float) -> Stored | None:
        """What stands under the subject now."""
        return await self._message(stream, {"last_by_subj": subject}, within_s)

    async def after(self, stream: str, subject: str, sequence: int, within_s: float) -> Stored | None:
        """The first message under the subject behind that one."""
        return await self._message(stream, {"seq": sequence + 1, "next_by_subj": subject}, within_s)

    async def _message(self, stream: str, which: Mapping[str, object], within_s: float) -> Stored | None:
        try:
            answer = await self.call(f"STREAM.MSG.GET.{stream}", which, within_s)
        except Told as told:
            if told.code == NO_MESSAGE:
                return None
            raise
        return _stored(answer.get("message"))

    # ---- until it is answered --------------------------------------------------------------------------------------

    async def purge(self, stream: str, subject: str, through: int) -> None:
        """Forget what stands under the subject up to that number: one that comes late takes nothing newer."""
        question = {"filter": subject, "seq": through + 1}
        await self.insist(lambda one: self.call(f"STREAM.PURGE.{stream}", question, one.within_s))

    async def subjects(self, stream: str, filtered: str) -> list[str]:
        """Every subject that has a message, as the leader knows them."""
        found: list[str] = []  # bounded: what the stream keeps
        while True:
            question = {"subjects_filter": filtered, "offset": len(found)}
            answer = await self.insist(lambda one: self.call(f"STREAM.INFO.{stream}", question, one.within_s))  # noqa: B023
            page = answer.get("state", {}).get("subjects") or {}
            found.extend(page)
            if not page or len(found) >= int(answer.get("total") or 0):
                return found


def _answer(data: bytes) -> dict[str, Any]:
    """Raises `Told` for an error, `UnansweredError` for one that passes."""
    try:
        answer = json.loads(data)
        error = answer.get("error")
    except (ValueError, AttributeError):
        raise PeerFault("store_damaged", "the server's answer is none of JetStream's") from None
    if error is None:
        return dict(answer)
    told = Told(int(error.get("code", 0)), int(error.get("err_code", 0)), str(error.get("description", "")))
    if told.passes:
        raise UnansweredError(told.description, sent=False)
    raise told


def _stored(message: Any) -> Stored:
    try:
        headers = parsed_headers(base64.b64decode(message.get("hdrs") or ""))
        data = base64.b64decode(message.get("data") or "")
        return Stored(str(message["subject"]), int(message["seq"]), headers, data)
    except (AttributeError, KeyError, TypeError, ValueError, binascii.Error):
        raise PeerFault("store_damaged", "the server's answer holds no message") from None


def parsed_headers(block: bytes) -> dict[str, str]:
    """The headers as their writer gave them; the first line is the protocol's version."""
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    return {name: text.strip() for name, _, text in (line.partition(":") for line in lines if line)}
