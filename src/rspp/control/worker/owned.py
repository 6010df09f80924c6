"""A session that this process owns, and its line: a caller who is sent elsewhere is told so, and not that all is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rspp.control.authority.leases import Held
from rspp.control.worker.ports import KeptLine
from rspp.host.ports import Line
from rspp.host.session import LiveSession
from rspp.kernel.inputs import Input
from rspp.spec.graph import GraphDefinition

# Told to whose session goes on elsewhere because this process may not own it any more.
AUTHORITY_LOST: Final = "authority_lost"
# Why a session ends here that this process may not own any more.
NOT_OURS: Final = "lease_deauthorized"


class Owned:
    """What this process knows of a session that is its own."""

    __slots__ = ("held", "leaving", "line", "moves", "reservation", "session")

    def __init__(self, held: Held, reservation: Any = None) -> None:
        self.held = held
        self.reservation = reservation  # its room; None: it has none yet
        self.moves = False  # somebody is about to give it away
        self.session: LiveSession | None = None  # not yet, while it is being opened
        self.line: OwnedLine | None = None  # its caller's, the last one
        self.leaving: str | None = None  # the word with which a caller is sent on

    @property
    def where(self) -> tuple[str, str]:
        return self.held.lease.tenant_id, self.held.lease.session_id

    def must(self, *received: Input) -> None:
        """What its authority says of a session is heard: one with no room left to hear it is over."""
        session = self.session
        if session is not None and not all(session.ingest(one) for one in received):
            session.force(NOT_OURS)


class OwnedLine:
    """A caller's line. What comes with every frame goes straight through."""

    __slots__ = ("_line", "_word", "announce", "pause", "resume", "send", "stop")

    def __init__(self, line: KeptLine, word: Callable[[str], str]) -> None:
        self._line = line
        self._word = word
        self.send = line.send
        self.announce = line.announce
        self.pause = line.pause
        self.resume = line.resume
        self.stop = line.stop

    def close(self, reason: str) -> None:
        word = self._word(reason)
        (self._line.cut if word == AUTHORITY_LOST else self._line.close)(word)

    def cut(self) -> None:
        """Whatever waits before it is not told any more."""
        self._line.cut(self._word(AUTHORITY_LOST))


class OwnedSeat:
    """A session, as its transport sees it; another line of its caller is one of ours too."""

    __slots__ = ("_session", "_wrap", "ingest")

    def __init__(self, session: LiveSession, wrap: Callable[[Line], Line]) -> None:
        self._session = session
        self._wrap = wrap
        self.ingest: Callable[[Input], bool] = session.ingest

    @property
    def session_id(self) -> str:
        return self._session.session_id

    @property
    def epoch(self) -> int:
        return self._session.epoch

    @property
    def graph(self) -> GraphDefinition:
        return self._session.graph

    @property
    def ended(self) -> bool:
        return self._session.ended

    def attach(self, line: Line) -> None:
        self._session.attach(self._wrap(line))
