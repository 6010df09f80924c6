"""A row is read without the secrets that somebody's words brought into it, and keeps all that it is known by."""

from __future__ import annotations

import pytest

from rspp.contract.surface import Row
from rspp.ops.rows import clean
from tests.unit.ops.journal.planted import HEX, HEX64, JWT, MIXED, PLAIN, PLANTED, Planted

WORDS = [one for one in PLANTED if isinstance(one.metadata.get("note"), str)]


@pytest.mark.parametrize("planted", WORDS[::4], ids=lambda one: one.name)
def test_words_in_a_row_lose_their_secrets(planted: Planted) -> None:
    said = planted.metadata["note"]
    row = Row(
        aggregate_id="w-1", state="lost", message=f"it was lost: {said}", facts={"because": f"so: {said}"}
    )
    done = clean(row)
    assert planted.secret not in repr(done)
    assert done.message.startswith("it was lost: ")
    assert clean(done) == done


def test_what_a_row_is_known_by_stays() -> None:
    row = Row(
        aggregate_id=HEX,
        tenant_id="acme",
        state="degraded",
        reason="route_no_workers",
        message=f"{HEX} goes on without audio: provider_unhealthy",
        facts={
            "owner": "worker-1-9f2c51d07a3e",
            "sha256": HEX64,
            "pipeline": "graph/desk@v1.0.0",
            "turns": 7,
        },
    )
    assert clean(row) is row


def test_a_name_that_looks_like_a_token_stays_a_name_and_what_is_said_beside_it_does_not() -> None:
    row = Row(aggregate_id=JWT, state="x", message=f"{JWT} was refused: Bearer {MIXED}, password={PLAIN}")
    assert clean(row).aggregate_id == JWT
    assert clean(row).message == f"{JWT} was refused: Bearer [redacted], password=[redacted]"
