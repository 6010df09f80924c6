"""How much of everything a tenant may have, and what follows when it wants more: pure, with the time handed in.

Each quota has a number, of which 0 is unlimited, and an action of its own:

    reject    no session, no turn, until the window has passed
    defer     later: told when to come again, a turn is tried again by its session
    degrade   let in, but told to do with less: the session's fact `quota_degraded` is true

A quota that counts what is there (sessions) or what begins (sessions, turns) refuses the one that would be too many. A quota
of amounts (tokens, seconds of sound, money) is known only after they were used: it refuses from the moment at which it is
used up. Windows are the wall's minutes and days, counted from 1970; whoever asks says what time it is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from rspp.contract.errors import MisuseError

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
# More of anything than can be counted in a day; sums of it over 10,000 processes still fit 64 bits.
AMOUNT_MAX: Final = 2**49

Most = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]


class Action(StrEnum):
    REJECT = "reject"
    DEFER = "defer"
    DEGRADE = "degrade"


class QuotaName(StrEnum):
    SESSIONS = "sessions"
    SESSIONS_PER_MINUTE = "sessions_per_minute"
    TURNS_PER_MINUTE = "turns_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    AUDIO_SECONDS_PER_MINUTE = "audio_seconds_per_minute"
    AUDIO_SECONDS_PER_DAY = "audio_seconds_per_day"
    SPEND_MICROS_PER_DAY = "spend_micros_per_day"


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most so many; 0 is unlimited."""

    most: Most = 0
    action: Action = Action.REJECT


NO_LIMIT: Final = Limit()


class TenantLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The quotas of one tenant, or of all together. Its fields are called as `QuotaName` says."""

    sessions: Limit = NO_LIMIT
    sessions_per_minute: Limit = NO_LIMIT
    turns_per_minute: Limit = NO_LIMIT
    tokens_per_minute: Limit = NO_LIMIT
    audio_seconds_per_minute: Limit = NO_LIMIT  # heard and spoken
    audio_seconds_per_day: Limit = NO_LIMIT
    spend_micros_per_day: Limit = NO_LIMIT  # millionths of the price table's currency


UNLIMITED: Final = TenantLimits()


def limits_of(document: object) -> TenantLimits:
    """The limits that a document says; raises `MisuseError` that names the field. Takes JSON's bytes or what came of them."""
    try:
        if isinstance(document, bytes | str):
            return msgspec.json.decode(document, type=TenantLimits)
        return msgspec.convert(document, TenantLimits)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError("quota_invalid", str(error)) from error


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is in use, and what the minute and the day have used so far."""

    sessions: int = 0
    sessions_minute: int = 0
    turns_minute: int = 0
    tokens_minute: int = 0
    audio_ms_minute: int = 0
    audio_ms_day: int = 0
    spend_micros_day: int = 0


NOTHING_USED: Final = Usage()


class Moment(StrEnum):
    """Who asks: a caller at the door, or a session that wants its next turn."""

    SESSION = "session"
    TURN = "turn"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The severest of the quotas that are used up; none allows. `window_ms` is when its window passes, if time alone helps."""

    action: Action | None = None
    quota: QuotaName | None = None
    used: int = 0
    most: int = 0
    window_ms: int | None = None

    @property
    def capacity(self) -> str:
        """In the words of a session's snapshot."""
        if self.action is Action.REJECT:
            return "reject"
        return "defer" if self.action is Action.DEFER else "allow"

    @property
    def degraded(self) -> bool:
        return self.action is Action.DEGRADE

    @property
    def refuses(self) -> bool:
        return self.action is Action.REJECT or self.action is Action.DEFER


ALLOWED: Final = Verdict()
_SEVERITY: Final = {None: 0, Action.DEGRADE: 1, Action.DEFER: 2, Action.REJECT: 3}
_Q = QuotaName
# quota, the window that it counts in, and whether a running session is asked for it again at each turn
_RULES: Final = (
    (_Q.SESSIONS, None, False),
    (_Q.SESSIONS_PER_MINUTE, MINUTE_MS, False),
    (_Q.TURNS_PER_MINUTE, MINUTE_MS, True),
    (_Q.TOKENS_PER_MINUTE, MINUTE_MS, True),
    (_Q.AUDIO_SECONDS_PER_MINUTE, MINUTE_MS, True),
    (_Q.AUDIO_SECONDS_PER_DAY, DAY_MS, True),
    (_Q.SPEND_MICROS_PER_DAY, DAY_MS, True),
)


def decide(
    limits: TenantLimits, usage: Usage, wall_ms: int, moment: Moment = Moment.TURN, asking: int = 1
) -> Verdict:
    """What a tenant that has used so much may do now. Of equally severe quotas the first one of the table is named."""
    if limits is UNLIMITED:
        return ALLOWED
    found = ALLOWED
    for quota, window_ms, at_turn in _RULES:
        if moment is Moment.TURN and not at_turn:
            continue
        limit: Limit = getattr(limits, quota)
        if not limit.most:
            continue
        used = _used(usage, quota)
        wanted = _wanted(quota, limit.action, asking)
        if used + wanted > limit.most and _SEVERITY[limit.action] > _SEVERITY[found.action]:
            left_ms = None if window_ms is None else window_ms - wall_ms % window_ms
            found = Verdict(action=limit.action, quota=quota, used=used, most=limit.most, window_ms=left_ms)
    return found


def _wanted(quota: QuotaName, action: Action, asking: int) -> int:
    """How many more there would be, beside those that are counted."""
    if quota is _Q.SESSIONS or quota is _Q.SESSIONS_PER_MINUTE:
        return asking
    # A turn that is only degraded has been opened, and counted, by then: the last good one is not cut off in its middle.
    return 0 if quota is _Q.TURNS_PER_MINUTE and action is Action.DEGRADE else 1


def severest(*verdicts: Verdict) -> Verdict:
    """Of several that hold at once, the one that counts."""
    return max(verdicts, key=lambda verdict: _SEVERITY[verdict.action], default=ALLOWED)


def _used(usage: Usage, quota: QuotaName) -> int:
    if quota is _Q.SESSIONS:
        return usage.sessions
    if quota is _Q.SESSIONS_PER_MINUTE:
        return usage.sessions_minute
    if quota is _Q.TURNS_PER_MINUTE:
        return usage.turns_minute
    if quota is _Q.TOKENS_PER_MINUTE:
        return usage.tokens_minute
    if quota is _Q.AUDIO_SECONDS_PER_MINUTE:
        return usage.audio_ms_minute // 1000
    if quota is _Q.AUDIO_SECONDS_PER_DAY:
        return usage.audio_ms_day // 1000
    return usage.spend_micros_day


def fullest(limits: TenantLimits, usage: Usage) -> tuple[QuotaName, int, int] | None:
    """The quota of which the largest part is used, how much that is and how much may be; None where nothing is limited."""
    found: tuple[QuotaName, int, int] | None = None
    for quota, _, _ in _RULES:
        most = getattr(limits, quota).most
        used = _used(usage, quota)
        if most and (found is None or used * found[2] > found[1] * most):
            found = quota, used, most
    return found


def minute_of(wall_ms: int) -> int:
    return wall_ms // MINUTE_MS


def day_of(wall_ms: int) -> int:
    return wall_ms // DAY_MS
