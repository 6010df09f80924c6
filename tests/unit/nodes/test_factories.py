"""What is built in and what the catalogue offers are the same."""

from __future__ import annotations

from rspp.nodes import factories
from rspp.spec.catalog import DEFAULT
from rspp.spec.graph import Role


def test_every_sync_type_of_the_catalogue_has_a_factory_and_nothing_else_has() -> None:
    sync = {name for name, kind in DEFAULT.types.items() if kind.role is Role.SYNC and name != "custom"}
    assert set(factories()) == sync


def test_each_call_gives_a_fresh_table() -> None:
    factories().clear()
    assert factories()
