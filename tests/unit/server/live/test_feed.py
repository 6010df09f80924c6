"""A client hears of each thing once, in the order of the numbers, and can always tell that it missed something."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rspp.server.live.feed import PENDING_MAX, Feed, Message


class Reader:
    """A client that follows the rule: it keeps the last number, and an `after` above it is a gap."""

    def __init__(self, greeting: Message) -> None:
        self.last = greeting.data["sequence"]
        self.gaps = 0
        self.heard: list[tuple[str, Any]] = []

    def read(self, message: Message) -> None:
        self.gaps += message.data["after"] > self.last
        self.last = message.data["sequence"]
        self.heard.append((message.event, message.data.get("aggregateId")))


def test_a_thing_that_changes_often_is_told_once_with_its_last_number() -> None:
    feed = Feed(7)
    for sequence in (8, 9, 10, 11):
        feed.changed("sessions", "a" if sequence != 9 else "b", sequence)
    first, second = feed.take(10)
    assert (first.data["aggregateId"], first.data["sequence"], first.data["after"]) == ("b", 9, 7)
    assert (second.data["aggregateId"], second.data["sequence"], second.data["after"]) == ("a", 11, 9)
    assert not feed.waiting
    assert feed.take(10) == []


def test_numbers_that_others_used_up_are_no_gap() -> None:
    feed = Feed(0)
    reader = Reader(feed.greeting())
    for sequence in (3, 90, 91, 400):
        feed.changed("sessions", f"s-{sequence}", sequence)
        for message in feed.take(10):
            reader.read(message)
    at = feed.at(1_000)
    assert at is not None
    reader.read(at)
    assert (reader.gaps, reader.last) == (0, 1_000)


def test_a_message_that_is_lost_is_a_gap_at_the_next_one_whatever_that_is() -> None:
    for lost in (0, 1):
        feed = Feed(0)
        reader = Reader(feed.greeting())
        feed.changed("sessions", "a", 1)
        feed.changed("sessions", "b", 2)
        messages = feed.take(10)
        del messages[lost]
        for message in messages:
            reader.read(message)
        at = feed.at(2)
        assert at is not None
        reader.read(at)
        assert reader.gaps == 1


def test_nothing_is_said_to_be_told_while_something_waits() -> None:
    feed = Feed(0)
    feed.changed("sessions", "a", 5)
    assert feed.at(5) is None
    feed.take(1)
    assert feed.at(5) == Message("at", {"sequence": 5, "after": 5})


def test_too_much_for_a_slow_client_becomes_one_word_and_keeps_no_memory() -> None:
    feed = Feed(0)
    reader = Reader(feed.greeting())
    for sequence in range(1, 10 * PENDING_MAX):
        feed.changed("sessions", f"s-{sequence}", sequence)
        assert len(feed._pending) <= PENDING_MAX
    assert feed.take(0) == []
    assert feed.waiting
    (message,) = feed.take(64)
    reader.read(message)
    assert (message.event, message.data["sequence"]) == ("refetch", 10 * PENDING_MAX - 1)
    feed.changed("sessions", "after", 10 * PENDING_MAX)
    for message in feed.take(64):
        reader.read(message)
    assert reader.gaps == 0
    assert reader.heard[-1] == ("changed", "after")


def test_a_number_that_comes_late_goes_never_backwards() -> None:
    feed = Feed(10)
    feed.changed("sessions", "a", 4)
    (message,) = feed.take(10)
    assert (message.data["sequence"], message.data["after"]) == (10, 10)


@given(
    st.lists(
        st.tuples(st.sampled_from("cta"), st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=60
    )
)
def test_whatever_happens_a_reader_that_lost_something_knows_and_one_that_lost_nothing_does_not(
    steps: list[tuple[str, int, int, bool]],
) -> None:
    feed, sequence = Feed(0), 0
    reader = Reader(feed.greeting())
    lost_something = False
    for what, thing, most, kept in steps:
        if what == "c":
            sequence += 1
            feed.changed("s", str(thing), sequence)
            continue
        at = feed.at(sequence) if what == "a" else None
        for message in [at] if at else feed.take(most):
            if kept or message.data["sequence"] == message.data["after"]:
                reader.read(message)
            else:
                lost_something = True
    for message in feed.take(1_000):
        reader.read(message)
    last = feed.at(sequence)
    assert last is not None
    reader.read(last)
    assert bool(reader.gaps) == lost_something
