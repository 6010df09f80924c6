"""Bytes of the store or of a peer that are not UTF-8 are refused like any other bytes that make no sense.

For some of them a decoder raises not its own error but Python's, and whoever waits for the one only dies of the other.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import click
import httpx
import pytest

import rspp
from rspp.cli import schema
from rspp.cli.control import asking
from rspp.client import route
from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.authority.leases import held_of
from rspp.control.authority.members import member_of
from rspp.control.commands import Commands, command_of
from rspp.control.fleet.provider_board import ProviderBoard
from rspp.control.fleet.regions import RegionMode, region_of
from rspp.control.fleet.residency import Use, rules_of
from rspp.control.fleet.status_writer import status_of
from rspp.control.intake.holders import holders_of
from rspp.control.intake.quotas import limits_of
from rspp.control.intake.reports import report_of
from rspp.control.names import RESULTS
from rspp.control.objectives.availability import Availability
from rspp.host.clock import MachineClock
from rspp.host.ports import Entry, Refused
from rspp.testing.store import MemoryStore
from rspp.timeline.regress_rules import BASELINE, baseline_in

JSON = b'{"\xff\xfe": 1}'
MSGPACK = b"\x81\xa2\xff\xfe\x00"
SOURCE = Path(rspp.__file__).parent


def entry(key: str, value: bytes = JSON) -> Entry:
    return Entry(key=key, value=value, revision=1)


@pytest.mark.parametrize(
    "read",
    [
        lambda: member_of(entry("m")),
        lambda: command_of(entry("m/c")),
        lambda: status_of(entry("t/s")),
        lambda: report_of(MSGPACK),
    ],
    ids=["member", "command", "status", "report"],
)
def test_nobody_acts_upon_a_record_of_bytes_that_are_no_text(read: Callable[[], object]) -> None:
    assert read() is None


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda: held_of(entry("t/s")), Refused),
        (lambda: holders_of(JSON), PeerFault),
        (lambda: limits_of(JSON), MisuseError),
    ],
    ids=["lease", "slots", "quota"],
)
def test_bytes_that_are_no_text_are_an_error_of_ours(
    read: Callable[[], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        read()


def test_a_region_or_a_residency_of_bytes_that_are_no_text_lets_nobody_in() -> None:
    assert region_of(entry("region/eu-1")).mode is RegionMode.CLOSED
    rules = rules_of([entry("residency/t"), entry("jurisdiction/eu")])
    assert rules.unreadable == {"t"}
    assert not rules.jurisdictions
    assert not rules.may("t", "eu-1", Use.PROCESS)


def test_who_listens_goes_on_after_bytes_that_are_no_text() -> None:
    async def main() -> None:
        store = MemoryStore()
        board, availability = ProviderBoard(store, MachineClock()), Availability(store)
        assert board.take(entry("provider/p/m")) is False
        availability.take(entry("d/1/m"))
        assert availability.unreadable == 1
        await store.put(RESULTS, "c", JSON)
        assert await Commands(store).result("c", within_ms=20) is None

    asyncio.run(main())


@pytest.mark.parametrize("content", [JSON, b'{"endpoint": ' + b"[" * 5_000], ids=["no text", "nested"])
def test_an_answer_of_no_text_or_without_end_is_not_a_control_planes(content: bytes) -> None:
    answer = httpx.Response(200, content=content)
    with pytest.raises(route.NoRoute, match="control_unreadable"):
        route._read(answer)
    with pytest.raises(PeerFault, match="control_unreadable"):
        asking._read(answer, "http://localhost")


def test_a_file_of_no_text_is_named(tmp_path: Path) -> None:
    for name in (BASELINE, f"x{schema.SUFFIX}"):
        (tmp_path / name).write_bytes(JSON)
    (tmp_path / f"x{schema.SUFFIX}").write_bytes(b'{"a": ' + JSON + b"}")
    with pytest.raises(MisuseError, match=BASELINE):
        baseline_in(tmp_path)
    with pytest.raises(click.UsageError, match="not a JSON Schema"):
        schema._read(tmp_path / f"x{schema.SUFFIX}")


def test_whoever_expects_bytes_that_make_no_sense_expects_those_that_are_no_text() -> None:
    """Everywhere but where the text was looked at before, or is our own."""
    known = {"contract/codec.py", "contract/scan_json.py", "kernel/journal.py", "cli/control/fields.py"}
    alone = re.compile(r"except msgspec\.(DecodeError|MsgspecError)\b")
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if alone.search(path.read_text())}
    assert found <= known
