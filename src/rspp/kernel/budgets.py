"""Elapsed time against a soft limit gives one of five verdicts, always in the same order of preference.

Below the warning mark: go on. Below exhaustion: go on, and say so. From exhaustion on: degrade if that is allowed, else
fall back if that is allowed, else terminate. Cost caps truncate or refuse at an exact amount. Knows no clock.
"""

from __future__ import annotations

from collections.abc import Container
from enum import StrEnum

from rspp.contract.words import AdaptiveAction
from rspp.spec.graph import CostCaps


class Verdict(StrEnum):
    CONTINUE = "continue"
    WARN = "warn"
    DEGRADE = "degrade"
    FALLBACK = "fallback"
    TERMINATE = "terminate"


def judge(
    elapsed_ms: int,
    exhaust_ms: int,
    allowed: Container[AdaptiveAction],
    warn_ms: int | None = None,
    *,
    degradable: bool = True,
    fallback: bool = True,
) -> Verdict:
    """The verdict on one budget; a missing warning mark is the exhaustion mark."""
    warn_ms = exhaust_ms if warn_ms is None else min(warn_ms, exhaust_ms)
    if elapsed_ms < warn_ms:
        return Verdict.CONTINUE
    if elapsed_ms < exhaust_ms:
        return Verdict.WARN
    if degradable and AdaptiveAction.DEGRADE in allowed:
        return Verdict.DEGRADE
    if fallback and AdaptiveAction.FALLBACK in allowed:
        return Verdict.FALLBACK
    return Verdict.TERMINATE


class Costs:
    """What one turn has spent, against its caps. 0 caps nothing."""

    __slots__ = ("audio_ms", "caps", "characters", "reached", "speculative_calls", "tokens")

    def __init__(self, caps: CostCaps) -> None:
        self.caps = caps
        self.tokens = 0
        self.audio_ms = 0
        self.characters = 0
        self.speculative_calls = 0
        self.reached: tuple[str, ...] = ()

    def take_characters(self, amount: int) -> int:
        """How many of these characters may still be synthesised."""
        allowed = _within(self.caps.characters_max, self.characters, amount)
        self.characters += allowed
        return allowed

    def take_tokens(self, amount: int) -> int:
        allowed = _within(self.caps.tokens_max, self.tokens, amount)
        self.tokens += allowed
        return allowed

    def take_audio(self, ms: int) -> int:
        allowed = _within(self.caps.audio_ms_max, self.audio_ms, ms)
        self.audio_ms += allowed
        return allowed

    def spent(self, cap: str) -> bool:
        """Is nothing left under this cap?"""
        used = {"tokens_max": self.tokens, "audio_ms_max": self.audio_ms, "characters_max": self.characters}[
            cap
        ]
        most: int = getattr(self.caps, cap)
        return most > 0 and used >= most

    def take_speculative_call(self) -> bool:
        if self.speculative_calls >= self.caps.speculative_calls_max:
            return False
        self.speculative_calls += 1
        return True

    def first_time(self, cap: str) -> bool:
        """Each cap is announced once a turn."""
        if cap in self.reached:
            return False
        self.reached = (*self.reached, cap)
        return True


def _within(cap: int, used: int, amount: int) -> int:
    return amount if cap == 0 else max(0, min(amount, cap - used))
