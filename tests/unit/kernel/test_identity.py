"""Whoever asks twice with one key is answered once."""

from __future__ import annotations

from rspp.kernel.identity import KeyBook, correlation_id, invocation_id, turn_id


def test_a_key_is_new_once_and_afterwards_leads_to_what_it_first_did() -> None:
    book = KeyBook(10, 1_000)
    assert book.register(0, "a", 5) is None
    assert book.register(1, "a", 9) == 5
    assert book.register(2, "b", 10) is None


def test_a_key_is_known_to_the_end_of_its_window_and_a_repeat_does_not_prolong_it() -> None:
    book = KeyBook(10, 1_000)
    book.register(0, "a", 5)
    assert book.register(999, "a", 6) == 5
    assert book.register(1_000, "a", 7) is None
    assert book.register(1_001, "a", 8) == 7


def test_a_full_book_forgets_the_oldest_first_and_never_grows() -> None:
    book = KeyBook(3, 1_000)
    for n in range(10):
        assert book.register(n, f"k{n}", n) is None
        assert len(book) <= 3
    assert book.register(10, "k9", 99) == 9
    assert book.register(10, "k6", 99) is None


def test_a_key_seen_again_after_its_window_counts_as_young() -> None:
    book = KeyBook(2, 1_000)
    book.register(0, "a", 1)
    book.register(500, "b", 2)
    assert book.register(1_000, "a", 3) is None
    book.register(1_001, "c", 4)
    assert book.register(1_002, "a", 5) == 3, "b was the oldest"


def test_another_book_goes_on_with_what_was_exported_up_to_its_own_size() -> None:
    book = KeyBook(10, 1_000)
    for n in range(5):
        book.register(0, f"k{n}", n)
    small = KeyBook(2, 1_000)
    small.restore(book.export())
    assert len(small) == 2
    assert small.register(1, "k4", 99) == 4
    assert small.register(1, "k0", 99) is None


def test_identifiers_say_what_they_belong_to() -> None:
    assert invocation_id("s", "s/turn-1", "llm-9", "llm") == "pvi/s/s/turn-1/llm-9/llm"
    assert invocation_id("s", None, "stt-1", "stt") == "pvi/s/session/stt-1/stt"
    assert correlation_id("s", None) == "corr/s/session"
    assert correlation_id("s", "s/turn-2") == "corr/s/s/turn-2"
    assert turn_id("s", 2) == "s/turn-2"
