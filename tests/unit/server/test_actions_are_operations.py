"""Each offered action is an operation of the control plane, as it stands in both tables, and each reason a row can give is known."""

from __future__ import annotations

import ast
import importlib
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import msgspec
import pytest

from rspp.cli.control.main import command as control
from rspp.contract.surface import Level
from rspp.control.operations import operation_named
from rspp.control.operations.calling import target_of
from rspp.control.security.roles import TABLE, Permission, Role
from rspp.ops.actions import Action, action_for
from rspp.ops.health import UNEXPLAINED, Reason
from rspp.ops.offers import OFFERS, Offer
from rspp.ops.reasons import REASONS

SOURCE = Path(__file__).parents[3] / "src" / "rspp"
# Rows are made here, and by whoever lays time over them.
OWNERS = ("control", "host", "timeline", "ops", "cli")
# `<aggregate type>_silent`, which the snapshots make of a row that is not renewed.
BY_TIME = {"worker_silent"}


def made(offer: Offer) -> Action:
    facts: dict[str, str | int | float | bool] = {
        name: f"the {name}" for name in offer.fields.values() if name not in ("aggregate_id", "tenant_id")
    }
    reason = Reason(
        surface="any",
        aggregate_id="-a name/with: all",
        level=Level.FAILED,
        code="any",
        message="It's so.",
        tenant_id="acme",
        facts=facts,
    )
    action = action_for(offer, reason)
    assert action is not None
    return action


@pytest.mark.parametrize("offer", OFFERS, ids=lambda one: one.kind)
def test_an_offer_names_an_operation_as_the_control_plane_has_it(offer: Offer) -> None:
    operation = operation_named(offer.operation)
    assert (operation.method, operation.path) == (offer.method, offer.path)
    assert operation.permission.value == offer.permission
    assert operation.changes
    able = [role.value for role in Role if Permission(offer.permission) in TABLE[role]]
    assert able[0] == offer.role, "the least role that may"
    assert set(offer.fields) | set(offer.fixed) <= set(operation.request.__struct_fields__)


@pytest.mark.parametrize("offer", OFFERS, ids=lambda one: one.kind)
def test_an_offered_call_can_be_sent_as_it_stands(offer: Offer) -> None:
    operation, action = operation_named(offer.operation), made(offer)
    request = msgspec.convert(action.call.fields, operation.request)
    assert target_of(operation, request).replace("%20", " ").replace("%2F", "/").replace("%3A", ":") == (
        action.call.path.replace("%20", " ").replace("%2F", "/").replace("%3A", ":")
    )
    assert action.call.permission == operation.permission.value
    in_path = {name: action.call.fields[name] for name in operation.path_fields}
    assert msgspec.convert({**action.call.body, **in_path}, operation.request) == request


@pytest.mark.parametrize("offer", OFFERS, ids=lambda one: one.kind)
def test_an_offered_command_line_is_one_that_the_command_line_takes(offer: Offer) -> None:
    action = made(offer)
    words = shlex.split(action.call.cli)
    assert words[:2] == ["rspp", "control"]
    group = control.get_command(click.Context(control), words[2])
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), words[3])
    assert command is not None
    context = command.make_context(command.name, words[4:])
    fields = operation_named(offer.operation).request.__struct_fields__
    given = {name: value for name, value in context.params.items() if name in fields and value is not None}
    assert {name: str(value) for name, value in given.items()} == {
        name: str(value) for name, value in action.call.fields.items()
    }


# ---- the reasons -----------------------------------------------------------------------------------------------------


def _said(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _said(node.body)
        yield from _said(node.orelse)


def _is_level(node: ast.expr) -> bool:
    return any(
        isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "Level"
        for one in ast.walk(node)
    )


def _assigned(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """Each name with what it is given, where names stand in a row as well."""
    (target,) = node.targets if len(node.targets) == 1 else (None,)
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        pairs = zip(target.elts, node.value.elts, strict=False)
        yield from ((name.id, one) for name, one in pairs if isinstance(name, ast.Name))


def codes_of(tree: ast.AST) -> set[str]:
    """What is said as the reason of a row: by name, by assignment to that name in a row of others, or in a tuple after its level."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Row":
            for keyword in node.keywords:
                if keyword.arg == "reason":
                    found |= set(_said(keyword.value))
        elif isinstance(node, ast.Assign):
            for name, one in _assigned(node):
                found |= set(_said(one)) if name == "reason" else set()
        elif isinstance(node, ast.Tuple):
            for before, one in pairwise(node.elts):
                found |= set(_said(one)) if _is_level(before) else set()
    return found


def all_codes() -> dict[str, set[str]]:
    """By module, of all that make rows."""
    found: dict[str, set[str]] = {}
    for owner in OWNERS:
        for path in sorted((SOURCE / owner).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "rspp.contract.surface" in text and (codes := codes_of(ast.parse(text))):
                found[path.relative_to(SOURCE).as_posix()] = codes
    return found


def test_every_reason_that_a_row_can_give_is_known_and_none_is_known_that_nobody_gives() -> None:
    written = {code for codes in all_codes().values() for code in codes}
    assert len(written) > 8, "the search finds the owners' rows"
    assert written - set(REASONS) == set(), "say in rspp.ops.reasons what it means and what can be done"
    assert set(REASONS) - written - BY_TIME - {UNEXPLAINED} == set(), "nobody gives this reason"


def test_the_search_finds_a_reason_however_it_is_written() -> None:
    text = """
def row():
    level, reason = (Level.FAILED if x else Level.NOTICE), "in_a_tuple"
    state, level, reason, message = "full", Level.FAILED, "in_a_longer_one", "words"
    reason, message = "assigned", "words"
    if y:
        return Level.OK, "returned_one" if z else "", ""
    return Row(aggregate_id="a", state="b", reason="named" if w else "")
"""
    assert codes_of(ast.parse(text)) == {"in_a_tuple", "in_a_longer_one", "assigned", "returned_one", "named"}


def test_a_surface_whose_rows_are_renewed_is_known_when_it_is_silent() -> None:
    """`renewed_ms` in an owner's row makes a reason out of the surface's aggregate type."""
    types = set()
    for module in _renewing():
        types |= {
            one.aggregate_type
            for one in vars(importlib.import_module(module)).values()
            if type(one).__name__ == "Surface"
        }
    assert {f"{one}_silent" for one in types} == BY_TIME


def _renewing() -> list[str]:
    paths = [path for owner in OWNERS for path in sorted((SOURCE / owner).rglob("*.py"))]
    renewing = [one for one in paths if " renewed_ms=" in one.read_text(encoding="utf-8")]
    return [
        "rspp." + one.relative_to(SOURCE).with_suffix("").as_posix().replace("/", ".") for one in renewing
    ]
