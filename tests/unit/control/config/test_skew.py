"""Every cell of the window is decided: the neighbours work together, everything else is refused by its versions."""

from __future__ import annotations

import itertools

import pytest

import rspp
from rspp.contract.errors import PeerFault
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.control.config import skew
from rspp.control.config.skew import (
    POLICY,
    Versions,
    around,
    check,
    check_peer,
    is_allowed,
    minor_of,
    told,
    window,
)

RELEASES = ("0.1", "0.2", "0.3", "1.0")
SCHEMAS = ("v1.0", "v1.1")
THREE = window(RELEASES[:3], SCHEMAS, "test")


@pytest.mark.parametrize(
    ("runtime", "control", "schema"), list(itertools.product(RELEASES, RELEASES, (*SCHEMAS, "v2.0")))
)
def test_a_cell_is_allowed_exactly_when_its_releases_are_neighbours_and_both_read_the_schema(
    runtime: str, control: str, schema: str
) -> None:
    versions = Versions(runtime=f"{runtime}.7", control=control, schema=schema)
    known = runtime != "1.0" and control != "1.0" and schema != "v2.0"
    near = abs(RELEASES.index(runtime) - RELEASES.index(control)) <= 1
    assert is_allowed(THREE, versions) is (known and near)
    if not (known and near):
        with pytest.raises(PeerFault) as caught:
            check(THREE, versions)
        assert caught.value.code == "version_skew_unsupported"
        for named in (versions.runtime, versions.control, versions.schema):
            assert named in caught.value.message


def test_this_build_works_with_itself() -> None:
    check(POLICY, skew.own())
    for is_control in (True, False):
        check_peer(POLICY, told(), is_control=is_control)


@pytest.mark.parametrize(
    "peer",
    [
        {},
        {"release": rspp.__version__},
        {"schema": CORE_SCHEMA_VERSION},
        {"release": "9.9.9", "schema": CORE_SCHEMA_VERSION},
        {"release": rspp.__version__, "schema": "v9.0"},
        {"release": "newest", "schema": CORE_SCHEMA_VERSION},
        {"release": "1" * 400, "schema": CORE_SCHEMA_VERSION},
    ],
    ids=["nothing", "no schema", "no release", "release", "schema", "no number", "long"],
)
@pytest.mark.parametrize("is_control", [True, False])
def test_a_peer_that_does_not_say_what_it_is_or_is_something_else_does_not_join(
    peer: dict[str, str], is_control: bool
) -> None:
    with pytest.raises(PeerFault) as caught:
        check_peer(POLICY, peer, is_control=is_control)
    assert caught.value.code == "version_skew_unsupported"


def test_patches_change_nothing() -> None:
    assert minor_of("0.1.0") == minor_of("0.1.9") == minor_of("0.1") == "0.1"
    assert minor_of("0.1.0rc1") == "0.1"


@pytest.mark.parametrize(
    ("mine", "near"), [("0.0.3", ("0.0", "0.1")), ("0.1.0", ("0.0", "0.1", "0.2")), ("1.0.0", ("1.0", "1.1"))]
)
def test_a_release_goes_with_itself_and_with_its_neighbours_on_either_side(
    mine: str, near: tuple[str, ...]
) -> None:
    policy = around(mine, SCHEMAS, "test")
    own = minor_of(mine)
    wanted = {(own, other, schema) for other in near for schema in SCHEMAS}
    wanted |= {(other, own, schema) for other in near for schema in SCHEMAS}
    assert {(one.runtime, one.control, one.schema) for one in policy.allowed} == wanted


def test_two_releases_agree_about_each_other() -> None:
    """Whichever of the two looks first, the answer is the same."""
    for one, other in itertools.product(RELEASES, RELEASES):
        cell = Versions(runtime=one, control=other, schema=SCHEMAS[0])
        assert is_allowed(around(one, SCHEMAS, "t"), cell) is is_allowed(around(other, SCHEMAS, "t"), cell)
