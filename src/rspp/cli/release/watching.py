"""Does a version keep up? Decided from what was seen of its sessions, the error budget and its providers. Pure; time comes in.

    goes on      nothing is wrong, and the time is not over
    unhealthy    something that ends it at once: too many failures, a burned budget, a provider that fell ill meanwhile
    gone         somebody else has withdrawn the version
    too_few      the time is over, and too few sessions were seen to say anything
    healthy      the time is over, and nothing is wrong

A failure counts against as many sessions as are asked for at the least, so that one of two is no disaster and the second of
twenty is one as soon as it is known that the share cannot be kept. A session that is degraded counts as failed when time is up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from rspp.control.fleet.status import SessionWord, Status
from rspp.control.fleet.status_writer import ENDED_TTL_MS
from rspp.control.objectives.budget_watch import is_bad

SESSIONS_MAX: Final = 20_000
BAD_TOLD_MAX: Final = 20


class Word(StrEnum):
    """How a session of the version stands."""

    OPEN = "open"  # no turn yet
    RUNNING = "running"
    DEGRADED = "degraded"
    GOOD = "good"
    BAD = "bad"
    ABORTED = "aborted"  # its caller left before a first turn


ENDED: Final = frozenset({Word.GOOD, Word.BAD, Word.ABORTED})
JUDGED: Final = ENDED | {Word.RUNNING, Word.DEGRADED}


class Verdict(StrEnum):
    ON = "goes_on"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    GONE = "gone"
    TOO_FEW = "too_few"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    sessions_min: int
    errors_max: float
    aborts_max: float


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the control plane said, at one moment."""

    at_ms: int
    sessions: Mapping[str, Status] = {}
    tenants: int = 0  # whose sessions were looked for
    burned: str = ""  # why the error budget has frozen the rollout
    unhealthy: tuple[str, ...] = ()  # of the version's providers
    there: bool = True  # does the version still get sessions?


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """An observation so far. It is kept on the disk at each look, so that its clock and what it saw survive the process."""

    started_ms: int
    until_ms: int
    sessions_min: int
    unhealthy_before: tuple[str, ...] = ()  # no fault of this version's
    providers: tuple[str, ...] = ()
    looked_ms: int = 0
    looks: int = 0
    tenants: int = 0  # at most, at one look
    sessions: dict[str, Word] = {}  # bounded: SESSIONS_MAX, what is beyond is not counted
    bad: tuple[str, ...] = ()  # the first of them, with why
    burned: str = ""
    fell_ill: tuple[str, ...] = ()
    there: bool = True
    verdict: Verdict = Verdict.ON
    why: tuple[str, ...] = ()

    def count(self, *words: Word) -> int:
        return sum(one in words for one in self.sessions.values())


def word_of(status: Status) -> Word:
    if status.state is SessionWord.ENDED:
        if is_bad(status):
            return Word.BAD
        return Word.GOOD if status.turns else Word.ABORTED
    if status.state is SessionWord.DEGRADED:
        return Word.DEGRADED
    return Word.RUNNING if status.turns else Word.OPEN


def watched(watch: Watch, look: Look) -> Watch:
    """With what this look has shown. Time that nobody watched, and of which no ends are left to be seen, is added at the end."""
    words = {name: word_of(status) for name, status in look.sessions.items()}
    sessions = dict(watch.sessions)
    for name, word in words.items():
        if sessions.get(name) not in ENDED and (name in sessions or len(sessions) < SESSIONS_MAX):
            sessions[name] = word
    fresh = [
        name for name, word in words.items() if word is Word.BAD and watch.sessions.get(name) is not Word.BAD
    ]
    bad = (*watch.bad, *(f"{name}: {look.sessions[name].reason or 'degraded at its end'}" for name in fresh))
    since_ms = look.at_ms - (watch.looked_ms or look.at_ms)
    back_ms = min(0, since_ms)  # a clock that was set back makes no observation longer
    unseen_ms = max(0, since_ms - ENDED_TTL_MS)
    ill = tuple(one for one in look.unhealthy if one not in watch.unhealthy_before)
    return msgspec.structs.replace(
        watch,
        started_ms=watch.started_ms + back_ms,
        until_ms=watch.until_ms + back_ms + unseen_ms,
        looked_ms=look.at_ms,
        looks=watch.looks + 1,
        tenants=max(watch.tenants, look.tenants),
        sessions=sessions,
        bad=bad[:BAD_TOLD_MAX],
        burned=look.burned,
        fell_ill=tuple(dict.fromkeys((*watch.fell_ill, *ill))),
        there=look.there,
    )


def judged(watch: Watch, rules: Rules) -> Watch:
    """With the verdict. One that was given stays."""
    if watch.verdict is not Verdict.ON:
        return watch
    over = watch.looked_ms >= watch.until_ms
    why = tuple(_wrong(watch, rules, over=over))
    if not watch.there:
        return _with(
            watch,
            Verdict.GONE,
            ("the version gets no new sessions any more, and this release has not withdrawn it",),
        )
    if why:
        return _with(watch, Verdict.UNHEALTHY, why)
    if not over:
        return watch
    seen = watch.count(*JUDGED)
    if seen < watch.sessions_min:
        return _with(
            watch, Verdict.TOO_FEW, (f"{seen} sessions were seen, {watch.sessions_min} are asked for",)
        )
    return _with(watch, Verdict.HEALTHY, ())


def _with(watch: Watch, verdict: Verdict, why: Sequence[str]) -> Watch:
    return msgspec.structs.replace(watch, verdict=verdict, why=tuple(why))


def _wrong(watch: Watch, rules: Rules, *, over: bool) -> list[str]:
    bad = watch.count(Word.BAD, *((Word.DEGRADED,) if over else ()))
    aborted, seen = watch.count(Word.ABORTED), max(watch.count(*JUDGED), watch.sessions_min)
    found = []
    if bad > rules.errors_max * seen:
        found.append(f"{bad} of {seen} sessions failed, at most {rules.errors_max:.2%} may")
    if aborted > rules.aborts_max * seen:
        found.append(f"{aborted} of {seen} callers left before a turn, at most {rules.aborts_max:.2%} may")
    if watch.burned:
        found.append(f"the error budget is burned: {watch.burned}")
    found += [f"the provider {one} has become unhealthy" for one in watch.fell_ill]
    return found


def figures(watch: Watch) -> dict[str, Any]:
    """For a report, and for whoever waits."""
    return {
        "sessions": watch.count(*JUDGED),
        **{word.value: watch.count(word) for word in Word},
        "tenants": watch.tenants,
        "providers": list(watch.providers),
        "budget_burned": watch.burned,
        "looks": watch.looks,
        "started_ms": watch.started_ms,
        "until_ms": watch.until_ms,
        "looked_ms": watch.looked_ms,
    }
