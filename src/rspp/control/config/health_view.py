"""The fleet's word about its providers, as one process hears it: only a change of the answer is a change.

Reports are renewed every few seconds by every worker; each would be news to every session if a beat counted. So what is
kept is the merged answer, and its number rises when that differs, be it by a report or because reports grew old.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.control.config.resolve import Signals
from rspp.control.fleet.provider_health import FRESH_MS, FleetHealth, Heard, ProviderReport, merged
from rspp.control.names import parts
from rspp.host.ports import Entry

PREFIX: Final = "provider/"
REPORTS_MAX: Final = 20_000
# A report is forgotten when it is this many times older than counts.
FORGET_AFTER: Final = 10
_DECODE: Final = msgspec.json.Decoder(ProviderReport).decode


class HealthView:
    """Reports as they were last heard, and what they come to."""

    def __init__(self, fresh_ms: int = FRESH_MS) -> None:
        self.signals = Signals()
        self.number = 0  # of changes of the answer
        self.refused = 0  # reports that were none, or one too many
        self.fresh_ms = fresh_ms
        self._heard: dict[str, dict[str, Heard]] = {}  # bounded: REPORTS_MAX in all
        self._words: dict[str, FleetHealth] = {}  # bounded: by the providers of those
        self._revisions: dict[str, int] = {}  # bounded: likewise

    @property
    def ref(self) -> str:
        """With the bound within which a report counts."""
        return f"health/{self.fresh_ms}ms@{self.number}"

    def take(self, entry: Entry, now: int) -> bool:
        """Hear one report. True if the answer has changed."""
        if not entry.key.startswith(PREFIX) or entry.revision <= self._revisions.get(entry.key, 0):
            return False
        try:
            report = _DECODE(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.refused += 1
            return False
        known = entry.key in self._revisions
        if parts(entry.key)[1:] != (report.provider, report.member) or (
            not known and len(self._revisions) >= REPORTS_MAX
        ):
            self.refused += 1
            return False
        self._revisions[entry.key] = entry.revision
        self._heard.setdefault(report.provider, {})[entry.key] = Heard(report, now)
        return self._merge([report.provider], now)

    def settle(self, now: int) -> bool:
        """Let old reports go: those beyond the bound do not count, and those long beyond it are forgotten."""
        limit = now - FORGET_AFTER * self.fresh_ms * NS_PER_MS
        providers = list(self._heard)
        for provider in providers:
            members = self._heard[provider]
            for where in [where for where, heard in members.items() if heard.at < limit]:
                del members[where]
                del self._revisions[where]
        return self._merge(providers, now)

    def _merge(self, providers: list[str], now: int) -> bool:
        for provider in providers:
            word = merged(provider, self._heard[provider].values(), now, self.fresh_ms)
            if word.members:
                self._words[provider] = word
            else:
                self._words.pop(provider, None)
            if not self._heard[provider]:
                del self._heard[provider]
        words = sorted(self._words.items())
        found = Signals(
            health={provider: word.state.value for provider, word in words},
            price={provider: word.price for provider, word in words if word.price is not None},
            circuits_open=tuple(provider for provider, word in words if word.circuit_open),
        )
        if found == self.signals:
            return False
        self.signals = found
        self.number += 1
        return True
