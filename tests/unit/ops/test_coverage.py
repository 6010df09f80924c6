"""What counts as told, and what follows for a surface of which something was not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Coverage
from rspp.ops import coverage
from rspp.ops.coverage import GRACE_MS, RECENT_MS, CoverageBook, Seen
from rspp.server.surfaces import surfaces

THING = ("workers", "", "w1")
LATE = GRACE_MS * NS_PER_MS
WORKERS = surfaces().named("workers")
HEALTH = surfaces().named("runtime_health")


def seen(digest: str, after: int, revision: int, at: int = 0) -> Seen:
    return Seen(THING, digest, after, revision, at)


@pytest.mark.parametrize(
    ("digest", "revision", "covers"),
    [
        ("d2", 5, True),
        ("d2", 4, True),  # the change, and a beat after it that the watch saw instead
        ("d2", 3, False),  # of the row before
        ("d2", 6, False),  # of a later one
        ("d1", 5, False),  # another row
    ],
)
@pytest.mark.parametrize("record_first", [True, False])
def test_a_record_covers_the_row_of_its_digest_between_the_two_revisions(
    digest: str, revision: int, covers: bool, record_first: bool
) -> None:
    book = CoverageBook()
    steps: list[Callable[[], None]] = [
        lambda: book.recorded(THING, digest, revision),
        lambda: book.saw(seen("d2", after=3, revision=5)),
    ]
    for step in steps if record_first else reversed(steps):
        step()
    assert len(book.due(LATE)) == (0 if covers else 1)
    assert book.waiting == 0


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("seen_at", [0, 1, 2])
def test_a_row_that_looks_as_one_that_was_told_before_another_was_needs_its_own_record(
    order: tuple[int, int], seen_at: int
) -> None:
    book = CoverageBook()
    records = [(f"d{number}", number) for number in order]
    for number in range(3):
        if number == seen_at:
            book.saw(seen("d1", after=0, revision=3))  # of the three the watch has seen the last
        if number < 2:
            book.recorded(THING, *records[number])
    assert [one.revision for one in book.due(LATE)] == [3]
    book.recorded(THING, "d2", 2)
    assert book.due(2 * LATE) == []


def test_a_row_that_is_told_late_but_in_time_is_covered_whatever_came_between() -> None:
    book = CoverageBook()
    book.saw(seen("d1", after=0, revision=3))
    for digest, revision in (("d1", 1), ("d2", 2), ("d1", 3)):
        book.recorded(THING, digest, revision)
    assert (book.due(LATE), book.waiting) == ([], 0)


def test_nothing_is_missed_before_its_grace_is_over_and_each_only_once() -> None:
    book = CoverageBook()
    book.saw(seen("d1", 0, 1, at=7))
    assert book.due(LATE + 6) == []
    assert [one.digest for one in book.due(LATE + 7)] == ["d1"]
    assert book.due(LATE + 8) == []
    assert (book.count("workers").watched, book.count("workers").uncovered) == (1, 1)


def test_a_row_that_comes_back_to_what_it_was_needs_its_own_record() -> None:
    book = CoverageBook()
    book.recorded(THING, "d1", 1)
    for digest, after, revision in (("d1", 0, 1), ("d2", 1, 2), ("d1", 2, 3)):
        book.saw(seen(digest, after, revision))
    book.recorded(THING, "d2", 2)
    assert [one.revision for one in book.due(LATE)] == [3]


def test_a_surface_falls_back_to_watching_while_something_was_missed_lately_and_comes_back() -> None:
    book = CoverageBook()
    assert book.of(WORKERS, 0).coverage == "journal"
    book.saw(seen("d1", 0, 1))
    book.due(LATE)
    fallen = book.of(WORKERS, LATE + 120_000 * NS_PER_MS)
    assert (fallen.declared, fallen.coverage, fallen.uncovered) == ("journal", "watch", 1)
    assert "2 min ago" in fallen.why
    back = book.of(WORKERS, LATE + RECENT_MS * NS_PER_MS)
    assert (back.coverage, back.why, back.uncovered) == ("journal", "", 1)


def test_a_writer_with_a_problem_makes_all_watched_and_says_why() -> None:
    book = CoverageBook()
    told = book.of(WORKERS, 0, problem="store_unreachable: away", full=3)
    assert told.coverage == "watch"
    assert "store_unreachable" in told.why
    assert "3 rows find no room" in told.why
    lost = book.of(WORKERS, 0, lost=4)
    assert (lost.coverage, lost.why) == ("journal", "4 changes could not be told to the journal")
    derived = book.of(HEALTH, 0, problem="store_unreachable: away")
    assert (derived.coverage, derived.why) == (Coverage.NONE.value, "")


def test_what_waits_and_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "WAITING_MAX", 10)
    monkeypatch.setattr(coverage, "THINGS_MAX", 10)
    book = CoverageBook()
    for number in range(30):
        thing = ("workers", "", f"w{number}")
        book.saw(Seen(thing, "d", 0, 1, 0))
        book.recorded(("workers", "", f"x{number}"), "d", 1)
    assert len(book.due(0)) == 20
    assert book.waiting == 10
    for number in range(30):
        book.saw(Seen(("workers", "", f"x{number}"), "d", 0, 1, 0))
    assert book.waiting == 10 + 20  # the oldest records are forgotten: uncovered, never wrongly covered


@pytest.mark.parametrize("by_record", [True, False])
def test_a_row_that_was_taken_away_and_came_back_needs_its_own_record(by_record: bool) -> None:
    book = CoverageBook()
    book.recorded(THING, "d1", 1)
    if by_record:
        book.recorded(THING, "", 1)
    else:
        book.ended(THING, 1)
    book.saw(seen("d1", after=0, revision=5))
    assert [one.revision for one in book.due(LATE)] == [5]
