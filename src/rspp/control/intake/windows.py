"""The minute and the day of one tenant in one process: what has been used since each began. Pure.

Meters only rise, so a window is a meter now less what it was when the window began; no event is counted twice and none has to
be remembered. A clock that goes back a little stays in its window; one that leaps into another window begins that anew.
"""

from __future__ import annotations

from typing import Final

from rspp.control.intake.metering import TenantMeter
from rspp.control.intake.quotas import day_of, minute_of
from rspp.control.intake.reports import Amounts

# A clock that is set back by less than this is in the same minute for a little longer.
BACK_MINUTES_MAX: Final = 2


class Windows:
    """Where a tenant's meter stood when its windows began."""

    __slots__ = ("_audio_us", "_audio_us_day", "_spend_day", "_tokens", "_turns", "day", "minute")

    def __init__(self) -> None:
        self.minute = self.day = -1
        self._turns = self._tokens = self._audio_us = self._audio_us_day = self._spend_day = 0

    def begin(self, wall_ms: int) -> None:
        self.minute, self.day = minute_of(wall_ms), day_of(wall_ms)

    def roll(self, tenant: TenantMeter, wall_ms: int) -> None:
        """Begin the windows of this time, if they are others."""
        minute, day = minute_of(wall_ms), day_of(wall_ms)
        if self.minute < 0:
            self.begin(wall_ms)  # what was counted before anybody looked is of this window
            return
        leapt_back = minute < self.minute - BACK_MINUTES_MAX
        if minute > self.minute or leapt_back:
            self.minute = minute
            self._turns, self._tokens, self._audio_us = tenant.turns, tenant.tokens, tenant.audio_us
        if day > self.day or (leapt_back and day < self.day):
            self.day = day
            self._audio_us_day, self._spend_day = tenant.audio_us, tenant.spend_micros()

    def amounts(self, tenant: TenantMeter, wall_ms: int) -> Amounts:
        """What was used in the windows of this time."""
        self.roll(tenant, wall_ms)
        return Amounts(
            turns_minute=tenant.turns - self._turns,
            tokens_minute=tenant.tokens - self._tokens,
            audio_ms_minute=(tenant.audio_us - self._audio_us) // 1000,
            audio_ms_day=(tenant.audio_us - self._audio_us_day) // 1000,
            spend_micros_day=tenant.spend_micros() - self._spend_day,
        )
