"""Whether a recording's trace is one that a kernel could have left: a file may be whole, and yet say nonsense.

Everything that shows, sums up or exports a trace relies on these few facts being there and of their type; what fails here is
refused as malformed, by its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.kernel.trace import Item

_DUE: Final = {
    "invoke": ("call", "provider", "attempt"),
    "kill_call": ("call_id", "attempt"),
    "end_feed": ("call_id",),
}


class _Detail(msgspec.Struct):
    heard_ms: int = 0
    fence_at_ms: int | None = None
    utterance: int | None = None
    candidate: str | None = None
    side: str | None = None


class _Facts(msgspec.Struct):
    """The facts that are read, and what they are where they are there."""

    call: str | None = None
    call_id: str | None = None
    node: str | None = None
    provider: str | None = None
    attempt: int | None = None
    chars: int | None = None
    samples: int | None = None
    reason: str | None = None
    plan_hash: str | None = None
    machine: str | None = None
    subject: str | None = None
    record: str | None = None
    sum: int | None = None
    detail: _Detail | None = None


def check_items(items: Iterable[Item]) -> None:
    """Raises CodecError for the first item that no kernel could have left."""
    for number, item in enumerate(items):
        try:
            facts: Any = msgspec.convert(item.facts, _Facts)
        except (msgspec.ValidationError, RecursionError) as error:
            raise CodecError("malformed", f"items[{number}].facts", str(error)) from error
        due = ("plan_hash",) if (item.what, item.name) == ("record", "plan") else _DUE.get(item.what, ())
        for name in due:
            if getattr(facts, name) is None:
                raise CodecError("malformed", f"items[{number}].facts.{name}", f"{item.what} without {name}")
