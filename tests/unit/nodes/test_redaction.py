"""Personal data and banned texts never pass, however the stream is cut; what only looks like them does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.event import Event, Note, Sample, Text
from rspp.contract.words import EventKind, PayloadClass
from rspp.kernel.hosting import Failed
from rspp.nodes.redaction import FORMS, Redactor, luhn
from tests.unit.nodes.conftest import Bench, MakeNode

ALL = tuple(FORMS)
CARD = "4111 1111 1111 1111"


def redacted(text: str, *kinds: str) -> str:
    return Redactor(kinds or ALL).apply(text, lambda kind: f"<{kind}>")[0]


def streamed(bench: Bench, text: str, sizes: list[int]) -> str:
    passed: list[str] = []
    at = 0
    for size in sizes:
        passed += bench.say(text[at : at + size])
        at += size
    return "".join(passed + bench.say(text[at:], final=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"It is {CARD}.", "It is <card>."),
        ("It is 4111-1111-1111-1111 or 5500005555555559", "It is <card> or <card>"),
        ("Write to jane.doe+x@mail.example.co.uk, please", "Write to <email>, please"),
        ("IBAN GB82 WEST 1234 5698 7654 32 it is", "IBAN <iban> it is"),
        ("de89370400440532013000", "<iban>"),
        ("My number is 123-45-6789.", "My number is <national_id>."),
        ("NI QQ 12 34 56 C? AB 12 34 56 C!", "NI QQ 12 34 56 C? <national_id>!"),
        ("Call +44 20 7946 0958 or (020) 7946-0958", "Call <phone> or <phone>"),
        ("Call 555-123-4567 or 555-1234 now", "Call <phone> or <phone> now"),
    ],
)
def test_personal_data_is_known_by_its_form_and_its_check(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111 1111 1111 1112 is late",  # the check digit is wrong
        "1000 0000 0000 0000",
        "In 2024 we sold 1 234 567 of 12 kinds",
        "On 2024-10-12 at 10:30, room 12345",
        "GB82 WEST 1234 5698 7654 33",
        "me@home and @you",
        "666-12-3456 and 900-12-3456",
        "Version 1.2.3.4.5 has 100000 lines",
    ],
)
def test_what_only_looks_like_it_passes(text: str) -> None:
    assert redacted(text) == text


def test_only_the_kinds_that_are_named_are_taken_out() -> None:
    assert redacted(f"{CARD} a@b.cd", "email") == f"{CARD} <email>"


def test_luhn_finds_every_single_wrong_digit() -> None:
    good = "4111111111111111"
    assert luhn(good)
    for place in range(len(good)):
        wrong = good[:place] + str((int(good[place]) + 1) % 10) + good[place + 1 :]
        assert not luhn(wrong)


PIECES = st.lists(
    st.sampled_from(
        [
            CARD,
            "4111111111111112",
            "a.b@c.example",
            "GB82 WEST 1234 5698 7654 32",
            "AB 12 34 56 C",
            "123-45-6789",
            "+44 20 7946 0958",
            "555-123-4567",
            "pay",
            "evil deal",
            "evil",
            "it is 12",
            "3.50",
            "AB",
            "(",
            "- ",
            ". ",
        ]
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(PIECES, st.sampled_from([" ", "  ", ", "]), st.lists(st.integers(1, 12), max_size=60))
def test_a_stream_says_the_same_however_it_is_cut(pieces: list[str], between: str, sizes: list[int]) -> None:
    config = {"personal": ALL, "banned": ("evil deal",), "replace": {"pay": "send"}}
    text = between.join(pieces)
    whole = streamed(Bench("text_filter", config), text, [])
    assert streamed(Bench("text_filter", config), text, sizes) == whole


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200), st.lists(st.integers(1, 30), max_size=20))
def test_no_text_makes_it_fail_or_hold_anything_back_for_ever(text: str, sizes: list[int]) -> None:
    bench = Bench("text_filter", {"personal": ALL, "banned": ("x y",)})
    streamed(bench, text, sizes)
    assert bench.say("Good bye.", final=True) == ["Good bye."]


def test_a_long_run_of_digits_holds_back_a_bounded_piece_and_is_quick() -> None:
    bench = Bench("text_filter", {"personal": ALL})
    for _ in range(200):
        bench.say("123456789 ")
    assert len(bench.hosted._instance._held) < 400  # type: ignore[attr-defined]
    for hostile in ("1" * 20_000, "a" * 20_000 + "@", "AB12" * 5_000, "+(" * 5_000, "1-" * 10_000):
        redacted(hostile)


def test_each_finding_is_counted_and_nothing_of_it_is_told(node: MakeNode) -> None:
    given = node("text_filter", personal=["card", "email"]).give(
        Text(f"{CARD} {CARD} a@b.cd", final=True, role="assistant")
    )
    samples = {payload.name: payload.value for payload in given if isinstance(payload, Sample)}
    assert samples == {"filter.card": 2.0, "filter.email": 1.0}
    assert "4111" not in str(given)


def test_replace_says_something_else(node: MakeNode) -> None:
    bench = node("text_filter", banned=["sure win"], action="replace", instead="good chance")
    assert bench.say("It is a Sure Win.", final=True) == ["It is a good chance."]


def test_block_says_its_sentence_once_and_nothing_more_until_the_next_turn(node: MakeNode) -> None:
    bench = node("text_filter", banned=["sure win"], action="block", instead="I cannot say that.")
    given = bench.give(Text("It is a sure win, believe me. Really. ", role="assistant"))
    assert [p.text for p in given if isinstance(p, Text)] == ["I cannot say that."]
    assert Sample("filter.blocked", 1.0) in given
    assert Note("blocked: banned") in given
    assert bench.say("Also buy now. ") == []
    assert bench.say("Bye.", final=True) == [""]
    assert bench.say("A new turn.", turn="turn-2", final=True) == ["A new turn."]


def test_a_blocked_transcript_is_replaced_whole_and_the_next_one_is_heard(node: MakeNode) -> None:
    bench = node("text_filter", personal=["card"], action="block", instead="(withheld)")
    assert bench.say(f"my card is {CARD}", role="user") == ["(withheld)"]
    assert bench.say("hello", role="user") == ["hello"]


def test_a_filter_that_fails_lets_nothing_of_that_event_through(
    node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = node("text_filter", personal=["card"])

    def broken(*_: object) -> tuple[str, dict[str, int]]:
        raise RuntimeError("a defect")

    monkeypatch.setattr(Redactor, "apply", broken)
    scope = bench.scope()
    event = Event(
        scope, EventKind.TEXT, 9, 0, Text(CARD, final=True, role="assistant"), PayloadClass.TEXT_RAW
    )
    result = bench.hosted.step(0, scope, "text", event)
    assert isinstance(result, Failed)
    assert CARD not in str(result)
