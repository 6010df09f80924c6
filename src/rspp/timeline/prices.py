"""What providers cost, by a table that somebody else wrote: there is no price in here, and none is made up.

currency: EUR
prices:
  llm-a: {per_1000_tokens: 0.002}
  llm-a/large: {per_1000_tokens: 0.02}        # one of its models
  tts-a: {per_1000_characters: 0.015}
  stt-a: {per_minute: 0.006, per_call: 0.001}
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from rspp.timeline.declared import declared_in
from rspp.timeline.usage import Provider

Price = Annotated[float, msgspec.Meta(ge=0)]


class ProviderPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one provider asks, in the table's currency."""

    per_call: Price = 0.0
    per_minute: Price = 0.0
    per_1000_characters: Price = 0.0
    per_1000_tokens: Price = 0.0


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price table. A key is a provider, or `provider/model` for one of its models."""

    currency: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    prices: dict[str, ProviderPrice]


def read_prices(path: Path) -> Prices:
    """The table of a file; raises MisuseError that says what is wrong with it."""
    return declared_in(path, Prices, "malformed")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """`total` covers only the providers that have a price; `unpriced` names the others."""

    currency: str
    total: float
    unpriced: list[str]


def priced(providers: Iterable[Provider], prices: Prices) -> Cost:
    """Set what each provider cost, where the table says it."""
    total = 0.0
    unpriced: list[str] = []
    for one in providers:
        price = prices.prices.get(f"{one.provider}/{one.model}") or prices.prices.get(one.provider)
        if price is None:
            unpriced.append(one.provider)
            continue
        cost = (
            one.attempts * price.per_call
            + (one.seconds or 0) / 60 * price.per_minute
            + (one.characters or 0) / 1000 * price.per_1000_characters
            + (one.tokens or 0) / 1000 * price.per_1000_tokens
        )
        one.cost = round(cost, 8)
        total += cost
    return Cost(currency=prices.currency, total=round(total, 8), unpriced=unpriced)
