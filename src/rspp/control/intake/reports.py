"""What one process tells the others of its tenants' use, once a second, and how others count it. Pure.

A report holds the process's own minute and day, by its own clock. Who reads it has a clock of its own:

    its window is ours                   counts
    it is one ahead of us                counts: it has begun what we are about to begin
    it is one behind us                  is over, and does not count
    further away, in either direction    its clock is wrong: what it said within the last minute counts all the same

So a wrong clock may count a tenant's use for somewhat longer, and never hides it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from rspp.control.intake.quotas import DAY_MS, MINUTE_MS, Usage, day_of, minute_of

# Tenants of one process in one day. Their report then has half a megabyte, which is what a store takes in one value.
TENANTS_MAX: Final = 8_192


# A use below nothing would hide that of others.
Count = Annotated[int, msgspec.Meta(ge=0)]


class Amounts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One tenant's use in one process's minute and day."""

    turns_minute: Count = 0
    tokens_minute: Count = 0
    audio_ms_minute: Count = 0
    audio_ms_day: Count = 0
    spend_micros_day: Count = 0


NOTHING: Final = Amounts()


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process's windows, and what each tenant has used in them."""

    minute: int
    day: int
    tenants: dict[str, Amounts]


class Heard(msgspec.Struct, frozen=True):
    """A report, when it came, on our own clock, and the sum of its tenants: there may be thousands, and it is asked for each second."""

    report: Report
    at: int
    together: Amounts


def heard(report: Report, at: int) -> Heard:
    columns = zip(*map(msgspec.structs.astuple, report.tenants.values()), strict=True)
    return Heard(report, at, Amounts(*map(sum, columns)))


_DECODE: Final = msgspec.msgpack.Decoder(Report).decode
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def bytes_of(report: Report) -> bytes:
    return _ENCODE(report)


def report_of(value: bytes) -> Report | None:
    """None for what is no report."""
    try:
        return _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Part(msgspec.Struct, gc=False):
    """A sum of amounts."""

    turns: int = 0
    tokens: int = 0
    audio_ms: int = 0
    audio_ms_day: int = 0
    spend_micros_day: int = 0

    def add(self, amounts: Amounts, in_minute: bool, in_day: bool) -> None:
        if in_minute:
            self.turns += amounts.turns_minute
            self.tokens += amounts.tokens_minute
            self.audio_ms += amounts.audio_ms_minute
        if in_day:
            self.audio_ms_day += amounts.audio_ms_day
            self.spend_micros_day += amounts.spend_micros_day

    def usage(self) -> Usage:
        return Usage(
            turns_minute=self.turns,
            tokens_minute=self.tokens,
            audio_ms_minute=self.audio_ms,
            audio_ms_day=self.audio_ms_day,
            spend_micros_day=self.spend_micros_day,
        )


def counts(told: Heard, wall_ms: int, now: int) -> tuple[bool, bool]:
    """Do this report's minute and day count in ours?"""
    fresh = now - told.at < MINUTE_MS * 1_000_000
    report = told.report
    return (
        _in_window(report.minute - minute_of(wall_ms), fresh),
        _in_window(report.day - day_of(wall_ms), fresh),
    )


def _in_window(ahead: int, fresh: bool) -> bool:
    if ahead in (0, 1):
        return True
    return fresh and ahead != -1


def elsewhere(
    reports: Mapping[str, Heard], tenant_id: str | None, wall_ms: int, now: int, into: Part
) -> Part:
    """Adds what other processes said of a tenant, or of all tenants for None."""
    for told in reports.values():
        amounts = told.together if tenant_id is None else told.report.tenants.get(tenant_id)
        if amounts is not None:
            into.add(amounts, *counts(told, wall_ms, now))
    return into


def is_past(told: Heard, wall_ms: int, now: int) -> bool:
    """Nothing of this report counts any more, nor will it."""
    return now - told.at > DAY_MS * 1_000_000 and told.report.day < day_of(wall_ms)
