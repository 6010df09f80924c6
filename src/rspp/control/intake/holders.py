"""The slot document of one scope, a tenant or all of them: which process holds how many sessions. Pure.

Each process writes its own entry and no other, by compare-and-set on the whole document, and writes what it holds, not what
has changed: a write that is done twice, or whose outcome nobody knows, is as good as one that is done once. `sum of the
holders <= limit` is checked before each write that adds; so however many processes ask at once, exactly `limit` get in.

    {"holders": {"worker-1": [12, 871], "worker-2": [3, 40]}, "minute": 29483021, "starts": 9, "freed": 4410}
                               |    `- the number of that process's last write: has mine been done?
                               `- sessions that it holds

The sessions that began in this minute are counted beside them. A clock that is behind counts with the others' minute, and
a minute that lies further ahead than clocks may differ is taken for a broken clock's: it is written over. So a broken clock
can make a rate less exact; nobody can be shut out by one, and what is held at a time knows of no clock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, PeerFault
from rspp.control.intake.quotas import ALLOWED, Moment, TenantLimits, Usage, Verdict, decide, minute_of

# Processes that hold sessions of one tenant; with it a document stays below a megabyte.
HOLDERS_MAX: Final = 4_096
# By how much the clocks of two machines of a fleet may differ.
SKEW_MINUTES: Final = 2

RETRY_MS_MIN: Final = 500
RETRY_MS_MAX: Final = 60_000
# For how long a slot is thought to be held as long as none was seen to become free.
HOLD_GUESS_S: Final = 60.0


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """So many sessions, by this process's write of that number."""

    count: int
    write: int


class Holders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scope's document."""

    holders: dict[str, Hold] = {}
    minute: int = 0
    starts: int = 0
    freed: int = 0  # slots given back since the document began: its rate says how soon there will be another

    def count(self, without: str = "") -> int:
        return sum(hold.count for member, hold in self.holders.items() if member != without)


EMPTY: Final = Holders()
_DECODE: Final = msgspec.json.Decoder(Holders).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def holders_of(value: bytes) -> Holders:
    """Raises `PeerFault` for what is no such document: nobody is let in on a guess."""
    try:
        found = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault("slots_damaged", str(error)) from error
    if any(hold.count < 0 for hold in found.holders.values()) or found.starts < 0:
        raise PeerFault("slots_damaged", "a count below 0")
    return found


def bytes_of(holders: Holders) -> bytes:
    return _ENCODE(holders)


# ---- one write -----------------------------------------------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Somebody who waits for `count` slots. `group` is whom to be fair to; `forced` is let in over any limit."""

    group: str
    count: int = 1
    forced: bool = False


class Mine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What this process writes of itself beside what it asks for."""

    member: str
    held: int
    write: int
    freed: int = 0  # given back since the last write
    unstarted: int = 0  # of those, sessions that never began


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What the next write is, and what each ask gets if it succeeds: the verdict of each, in their order."""

    after: Holders
    verdicts: tuple[Verdict, ...]
    granted: int
    changes: bool  # False: the document says all this already


def settle(
    before: Holders,
    mine: Mine,
    asks: Sequence[Ask],
    limits: TenantLimits,
    wall_ms: int,
    gone: Collection[str] = (),
) -> Round:
    """Who of those who ask gets in. Processes that are gone hold nothing any more."""
    others = {
        member: hold
        for member, hold in before.holders.items()
        if member != mine.member and member not in gone
    }
    elsewhere = sum(hold.count for hold in others.values())
    minute, starts = _window(before, minute_of(wall_ms))
    starts = max(0, starts - mine.unstarted)
    held = mine.held
    verdicts = [ALLOWED] * len(asks)
    for number in in_turn([ask.group for ask in asks]):
        ask = asks[number]
        used = Usage(sessions=elsewhere + held, sessions_minute=starts)
        verdict = ALLOWED if ask.forced else decide(limits, used, wall_ms, Moment.SESSION, ask.count)
        verdicts[number] = verdict
        if not verdict.refuses:
            held += ask.count
            starts += 0 if ask.forced else ask.count
    if held and mine.member not in before.holders and len(others) >= HOLDERS_MAX:
        raise LimitReached("slots_holders_full", f"{HOLDERS_MAX} processes hold sessions of one tenant")
    holders = {**others, mine.member: Hold(held, mine.write)} if held or mine.unstarted else others
    told = before.holders.get(mine.member)
    return Round(
        after=Holders(holders=holders, minute=minute, starts=starts, freed=before.freed + mine.freed),
        verdicts=tuple(verdicts),
        granted=held - mine.held,
        changes=held != (told.count if told else 0)
        or held != mine.held
        or mine.unstarted > 0
        or len(others) + (told is not None) != len(before.holders),
    )


def _window(before: Holders, minute: int) -> tuple[int, int]:
    """The minute that is counted in, and what it has counted."""
    if before.minute == minute or 0 < before.minute - minute <= SKEW_MINUTES:
        return before.minute, before.starts
    if before.minute > minute:
        return minute, before.starts  # a broken clock's minute: what it counted stays
    return minute, 0


def is_done(found: Holders, member: str, write: int) -> bool:
    """Was that write done? Of a process that holds nothing the document says nothing, and then it need not be known."""
    hold = found.holders.get(member)
    return hold is not None and hold.write == write


def in_turn(groups: Sequence[str]) -> Iterable[int]:
    """Places in the order in which they are served: one of each group, then the next of each."""
    waiting: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        waiting.setdefault(group, []).append(number)
    depth = max(map(len, waiting.values()), default=0)
    for rank in range(depth):
        for numbers in waiting.values():
            if rank < len(numbers):
                yield numbers[rank]


# ---- when to come again --------------------------------------------------------------------------------------------


def draw(name: str) -> float:
    """A number from 0 up to 1 that is always the same for one name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


class Pace:
    """How fast slots become free, as far as this process has seen, and how many of those whom it refused wait for one.

    Who is refused as the k-th is told to come when about k slots have become free, give or take a quarter by a hash of the
    session: so 1,900 who were refused in one moment do not come back in one moment.
    """

    __slots__ = ("_at", "_freed", "_per_s", "_queue", "_sharers")

    def __init__(self) -> None:
        self._at: int | None = None
        self._freed = 0
        self._per_s = 0.0
        self._queue = 0.0
        self._sharers = 1

    def saw(self, now: int, freed: int, limit: int, sharers: int = 1) -> None:
        """The document says so many were given back in all, and so many processes hold some. A number that falls is of a document that began anew."""
        self._sharers = max(1, sharers)
        if self._at is None or freed < self._freed:
            self._at, self._freed = now, freed
            return
        past_s = (now - self._at) / 1e9
        if past_s < 1.0:
            return
        fresh = (freed - self._freed) / past_s
        # The longer ago the last look was, the less it says: half of it is forgotten in ten seconds.
        keep = 0.5 ** (past_s / 10.0)
        self._per_s = fresh if not self._per_s else keep * self._per_s + (1 - keep) * fresh
        # A slot that became free has taken one of them; and none waits for longer than the longest wait.
        left = max(0.0, self._queue - past_s * self.per_s(limit))
        self._queue = left * max(0.0, 1 - past_s * 1000 / RETRY_MS_MAX)
        self._at, self._freed = now, freed

    def per_s(self, limit: int) -> float:
        """The rate that is counted with: this process's part of it, for the others refuse callers too."""
        return max(self._per_s, limit / HOLD_GUESS_S, 1 / HOLD_GUESS_S) / self._sharers

    def retry_ms(self, name: str, limit: int) -> int:
        """When somebody who is refused now should try again; each call is one more who waits."""
        self._queue = min(self._queue + 1, 1e6)
        wait_ms = self._queue / self.per_s(limit) * 1000
        return spread_ms(min(max(wait_ms, RETRY_MS_MIN), RETRY_MS_MAX), name)


def spread_ms(wait_ms: float, name: str) -> int:
    """Between three and five quarters of it, always the same for one name."""
    return int(wait_ms * (0.75 + 0.5 * draw(name)))
