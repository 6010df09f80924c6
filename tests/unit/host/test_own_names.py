"""No name that somebody else's DNS can lead to this machine is one of its own."""

from __future__ import annotations

import pytest

from rspp.host.own_names import is_this_machine

OWN = (
    "127.0.0.1:8700",
    "127.0.0.1",
    "localhost:1",
    "LOCALHOST",
    "localhost.",
    "[::1]:8700",
    "127.8.8.8",
    "a.localhost:80",
)
STRANGE = (
    *("theirs.example:8700", "localhost.theirs.example", "127.0.0.1.theirs.example", "192.0.2.1", "0.0.0.0:80"),
    *("", "[", "a b", ":80", "user@theirs.example", "127.0.0.1@theirs.example", "[2001:db8::1]:80", "notlocalhost"),
)  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_a_machines_own_names_are_its_own(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", STRANGE)
def test_no_other_name_is(host: str) -> None:
    assert not is_this_machine(host)
