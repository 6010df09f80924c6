"""What tells its results in another way than a suite does has failed, and nothing that it started is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Began, Came, Done, Message, Request
from rspp.cli.conformance.process import GarbledError
from rspp.cli.conformance.runner import GARBLED, _results, run
from rspp.cli.conformance.source import source_of
from rspp.testing.conformance.certificate import LOADED
from rspp.testing.conformance.checks import Result

HOSTILE = Path(__file__).with_name("hostile.py")
NAMES = (LOADED, ("a", "one"), ("b", "two"))


def request_for(name: str, port: str, folder: Path) -> Request:
    return Request(port=port, target=f"{HOSTILE}:{name}", folder=str(folder), scratch="", check_s_max=2)


# ---- what is said ---------------------------------------------------------------------------------------------------------


class Said:
    """A process that says these things, and ends."""

    def __init__(self, *messages: Message | None) -> None:
        self._messages = iter(messages)

    def message(self, _: float) -> Message | None:
        said = next(self._messages, None)
        if said == Came(-1, Result("", "", "passed")):
            raise GarbledError
        return said

    def ended(self) -> str:
        return "it ended"


def passed(number: int) -> Came:
    return Came(number, Result(*NAMES[number], "passed"))


WHOLE = (passed(0), Began(1), passed(1), Began(2), passed(2))
RUBBISH = Came(-1, Result("", "", "passed"))


def heard(*messages: Message | None, only: tuple[str, ...] = ()) -> dict[int, str]:
    process: Any = Said(*messages)
    request = msgspec.structs.replace(request_for("x", "clock", Path()), only=only)
    return {number: one.verdict for number, one in _results(process, request, NAMES, lambda _: None).items()}


def test_a_suite_that_is_told_in_its_order_is_heard() -> None:
    assert heard(*WHOLE, Done()) == {0: "passed", 1: "passed", 2: "passed"}
    assert heard(passed(0), Began(2), passed(2), Done(), only=("b",)) == {0: "passed", 2: "passed"}


@pytest.mark.parametrize(
    ("messages", "failed"),
    [
        ((passed(0), passed(1), passed(2), Done()), 1),  # nothing began
        ((passed(0), Began(2), passed(2), Began(1), passed(1), Done()), 1),  # in another order
        ((passed(0), Began(1), passed(2)), 1),  # another one's result
        ((passed(0), Began(1), Came(1, Result("a", "other", "passed"))), 1),  # another name
        (
            (passed(0), Began(1), Came(1, Result("a", "one", "not_run"))),
            1,
        ),  # no verdict of a check that began
        ((passed(0), Began(1), passed(1), passed(1)), 2),  # twice
        ((passed(0), Began(1), passed(1), Done()), 2),  # done before it is over
        ((*WHOLE, RUBBISH, Done()), 2),
        ((*WHOLE, passed(2), Done()), 2),
        ((*WHOLE,), 2),  # it ended without a word
        ((passed(0), Began(7)), 1),
        ((Done(),), 0),
    ],
)
def test_what_no_suite_says_fails_and_passes_none_after(messages: Sequence[Message], failed: int) -> None:
    verdicts = heard(*messages)
    assert verdicts[failed] == "failed"
    assert {number for number, one in verdicts.items() if one == "passed"} == set(range(failed))


# ---- what is done ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["garbage", pytest.param("smaller", marks=pytest.mark.long)])
def test_one_that_speaks_before_it_is_made_is_told_as_a_failure(name: str, tmp_path: Path) -> None:
    ran = run(request_for(name, "clock", tmp_path))
    assert ran.made is None
    assert [(one.verdict, one.reason) for one in ran.results] == [
        ("failed", f"while it was loaded, {GARBLED}")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "why"),
    [("Forges", GARBLED), pytest.param("Closes", "it ended its process", marks=pytest.mark.long)],
)
def test_one_that_tells_results_itself_or_closes_their_line_is_not_certified(
    name: str, why: str, tmp_path: Path
) -> None:
    certificate = certified(request_for(name, "clock", tmp_path)).certificate
    assert not certificate.certified
    assert any(why in one.reason for one in certificate.checks if one.verdict == "failed")
    assert sum(one.verdict == "passed" for one in certificate.checks) == 1  # that it could be made


@pytest.mark.slow
def test_a_process_that_a_target_sent_away_is_ended_with_it(tmp_path: Path) -> None:
    certificate = certified(request_for("Stays", "clock", tmp_path)).certificate
    assert certificate.checks[0].verdict == "passed"
    assert not is_alive(int((tmp_path / "pid").read_text()))


def is_alive(pid: int) -> bool:
    """One that has ended may still be listed until its new parent has asked for it."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return told.rpartition(")")[2].split()[0] not in ("Z", "X")


# ---- what a source is ------------------------------------------------------------------------------------------


def test_a_source_is_of_the_module_that_was_named_whatever_the_target_says_of_itself() -> None:
    from tests.unit.cli.conformance import hostile

    named = source_of(hostile.Good, named=hostile.__name__)
    assert len(named.sha256) == 64
    assert source_of(hostile.Bad, named=hostile.__name__).sha256 == named.sha256
    assert source_of(hostile.partly, named=hostile.__name__).sha256 == named.sha256
    assert source_of(hostile.partly).sha256 == ""
