"""Keyed digits become one text: when the terminator comes, or when there are as many as were asked for.

What was keyed before a cancellation is forgotten with it. How long to wait between two keys is the turn-taking's
affair; this node has no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.contract.event import Event, Signal, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import CancelReason
from rspp.kernel.hosting import Context
from rspp.spec.catalog import DigitsConfig

TERMINATOR: Final = "#"


class DigitCollector:
    """Collects the digits of one entry."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self._digits_max = msgspec.convert(dict(config), DigitsConfig).digits_max
        self._digits = ""
        self._entries = 0

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        signal = event.payload
        if not isinstance(signal, Signal) or signal.signal != SignalName.DIGIT_PRESSED.value:
            return
        digit = str((signal.detail or {}).get("digit") or "")
        if digit != TERMINATOR:
            self._digits += digit
        if self._digits and (digit == TERMINATOR or len(self._digits) >= self._digits_max):
            self._flush(ctx)

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self._digits = ""

    def _flush(self, ctx: Context) -> None:
        digits, self._digits = self._digits, ""
        ctx.emit("text", Text(digits, segment=self._entries, final=True, role="user"))
        self._entries += 1
