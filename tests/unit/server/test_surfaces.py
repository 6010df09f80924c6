"""Every surface that somebody declares is known, has one owner, and says truly where it is asked for."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import rspp
from rspp.contract.errors import MisuseError
from rspp.contract.surface import Coverage, Kept, Surface, Truth
from rspp.control.operations import OPERATIONS
from rspp.ops.derived import FROM
from rspp.ops.surfaces import Surfaces
from rspp.server.surfaces import SURFACES, surfaces, table

ROOT = Path(rspp.__file__).parent
ASKED_FOR = (
    *("sessions", "turns", "leases", "routing_view", "workers", "pipelines", "rollouts", "policies"),
    *("provider_health", "circuits", "admission_quotas", "evidence_export", "recordings", "audit_log"),
    *("approvals", "external_nodes", "runtime_work_session", "runtime_health", "runtime_actions"),
)


def declaring() -> Iterator[str]:
    """The modules that make a Surface, by their text: no import decides who is looked at."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text()
        if "Surface(" not in text:
            continue
        calls = (one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call))
        if any(isinstance(one.func, ast.Name) and one.func.id == "Surface" for one in calls):
            yield ".".join(("rspp", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def test_no_declaration_is_missing_from_the_tuple() -> None:
    modules = [importlib.import_module(name) for name in declaring()]
    found = [value for one in modules for value in vars(one).values() if isinstance(value, Surface)]
    assert {one.name for one in found} == {one.name for one in SURFACES}
    assert {id(one) for one in found} == {id(one) for one in SURFACES}


def test_every_surface_that_the_spec_names_is_declared() -> None:
    assert sorted(one.name for one in SURFACES) == sorted(ASKED_FOR)


@pytest.mark.parametrize("one", SURFACES, ids=lambda one: one.name)
def test_an_owner_is_a_module_and_a_way_to_read_is_one_that_there_is(one: Surface) -> None:
    importlib.import_module(one.owner)
    ways = {f"{operation.method} {operation.path}" for operation in OPERATIONS}
    assert one.read in ways or one.read.startswith(("GraphQL ", "rspp ")), one.read


def test_health_is_derived_from_exactly_what_counts_for_it() -> None:
    assert set(FROM) == {one.name for one in SURFACES if one.affects_health}


def test_a_canonical_surface_is_told_to_the_journal_and_a_derived_one_is_not() -> None:
    for one in surfaces():
        canonical = one.truth is Truth.CANONICAL
        assert (one.coverage is Coverage.JOURNAL) is canonical
        assert bool(one.places) is canonical


def refused(*declared: Surface) -> MisuseError:
    with pytest.raises(MisuseError) as caught:
        Surfaces(declared)
    return caught.value


def test_two_owners_of_one_surface_are_named_at_the_start() -> None:
    again = msgspec.structs.replace(SURFACES[0], owner="somebody.else")
    error = refused(*SURFACES, again)
    assert error.code == "surface_twice"
    assert SURFACES[0].owner in error.message
    assert "somebody.else" in error.message


def test_a_derived_surface_is_no_source_of_truth() -> None:
    health = next(one for one in SURFACES if one.name == "runtime_health")
    told = msgspec.structs.replace(health, coverage=Coverage.JOURNAL)
    kept = msgspec.structs.replace(health, kept=Kept("health"))
    others = [one for one in SURFACES if one is not health]
    assert refused(*others, told).code == "surface_derived"
    assert refused(*others, kept).code == "surface_derived"


def test_a_canonical_surface_is_derived_from_nothing_and_its_rows_can_be_read() -> None:
    first = SURFACES[0]
    assert refused(msgspec.structs.replace(first, derived_from=("workers",))).code == "surface_invalid"
    assert refused(msgspec.structs.replace(first, row=None)).code == "surface_invalid"


def test_the_page_about_the_state_engine_lists_them_as_they_are() -> None:
    page = (ROOT.parents[1] / "docs" / "state-engine.md").read_text()
    assert table() in page, (
        "the table of docs/state-engine.md is not what `rspp.server.surfaces.table()` makes"
    )
