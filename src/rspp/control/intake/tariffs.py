"""A price table in whole millionths, so that what was spent adds up the same in every process. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.timeline.prices import Prices, ProviderPrice

MICROS: Final = 1_000_000
# A million of the currency for one call, minute or thousand: more is a mistake in the table.
PRICE_MAX: Final = 1_000_000


class Tariff(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one provider asks, in millionths of the currency."""

    per_call: int = 0
    per_minute: int = 0
    per_1000_characters: int = 0
    per_1000_tokens: int = 0


class Used(msgspec.Struct, kw_only=True, gc=False):
    """What one provider was asked for, for one tenant, since this process began."""

    calls: int = 0
    audio_us: int = 0
    characters: int = 0
    tokens: int = 0


class Tariffs:
    """What providers ask. One that is not in the table costs nothing, and its name is told."""

    def __init__(self, prices: Prices | None = None) -> None:
        self._tariffs = (
            {name: _tariff(name, price) for name, price in prices.prices.items()} if prices else {}
        )
        self.unpriced: set[str] = set()  # bounded: by the providers of what is served

    def find(self, provider: str, model: str | None) -> Tariff | None:
        """The price of one of its models, if that has one of its own, or of the provider."""
        found = self._tariffs.get(f"{provider}/{model}") or self._tariffs.get(provider)
        if found is None and self._tariffs:
            self.unpriced.add(provider)
        return found


def cost_micros(used: Used, tariff: Tariff | None) -> int:
    """Of all that was used, rounded down once: so adding to it never takes anything back, and nothing is lost in parts."""
    if tariff is None:
        return 0
    return (
        used.calls * tariff.per_call
        + used.audio_us * tariff.per_minute // 60_000_000
        + used.characters * tariff.per_1000_characters // 1000
        + used.tokens * tariff.per_1000_tokens // 1000
    )


def _tariff(name: str, price: ProviderPrice) -> Tariff:
    found: dict[str, int] = {}
    for field in ProviderPrice.__struct_fields__:
        amount: float = getattr(price, field)
        if not math.isfinite(amount) or not 0 <= amount <= PRICE_MAX:
            raise MisuseError("prices_invalid", f"{name}: {field} is not from 0 to {PRICE_MAX}")
        found[field] = round(amount * MICROS)
    return Tariff(**found)
