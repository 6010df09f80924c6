"""A row is shown without secrets, whatever its owner put into it: here it is cleaned, for whoever tells, sees or says it.

Owners are told to keep secrets out of rows, and their words come from people, providers and nodes all the same. Names stay as
they are, the row's own in its message too: a row that nobody can name is of no use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec

from rspp.contract.surface import Fact, Row, Surface
from rspp.timeline.redaction.forms import Kind, without_secrets
from rspp.timeline.redaction.keywords import names_a_digest

# Rows have the same few texts again and again: who has it, in which state, of which pipeline.
TEXTS_KNOWN_MAX: Final = 4_096


def row_of(surface: Surface, key: str, value: bytes) -> Row | None:
    """The owner's row of what lies in the store, clean; None where it makes none. Raises what the owner's code raises."""
    assert surface.row is not None
    row = surface.row(key, value)
    return None if row is None else clean(row)


def clean(row: Row) -> Row:
    """The row without secrets, the same one where there are none."""
    own = row.aggregate_id
    message = own.join(_words(part) for part in row.message.split(own)) if own else _words(row.message)
    facts = {name: _fact(name, fact) for name, fact in row.facts.items()}
    reason = _words(row.reason)
    if (message, facts, reason) == (row.message, row.facts, row.reason):
        return row
    return msgspec.structs.replace(row, message=message, facts=facts, reason=reason)


def _fact(name: str, fact: Fact) -> Fact:
    if not isinstance(fact, str):
        return fact
    if " " in fact:
        return _words(fact)
    return _cleaned(fact, Kind.DIGEST if names_a_digest(name) else Kind.IDENTITY)


def _words(text: str) -> str:
    return _cleaned(text, Kind.FREE) if text else text


@lru_cache(maxsize=TEXTS_KNOWN_MAX)
def _cleaned(text: str, kind: Kind) -> str:
    return without_secrets(text, kind)
