"""Texts that belong together are judged together; what is not known yet, or has no room, is not given."""

from __future__ import annotations

from rspp.timeline.records import Spoken
from rspp.timeline.redaction import streams as module
from rspp.timeline.redaction.known import Known
from rspp.timeline.redaction.patterns import KINDS
from rspp.timeline.redaction.streams import Held, Streams

SECOND = 1_000_000_000


class Talk:
    """Streams, and somebody who numbers what is put into them. A stand-in's letters are x."""

    def __init__(self) -> None:
        self.streams = Streams(Known(), lambda: KINDS)
        self.step = self.now = 0

    def held(self, text: str, final: bool = False) -> Held:
        self.step += 1
        standin = "".join("x" if character.isalnum() else character for character in text)
        return Held(self.step, self.now, text, standin, final)

    def hears(self, text: str, segment: int = 0, final: bool = False) -> None:
        self.streams.revise("stt", segment, self.held(text, final))

    def answers(self, *pieces: str, cut: bool = False, call: str = "llm") -> None:
        for piece in pieces:
            self.streams.go_on(call, self.held(piece))
        self.streams.end(call, cut=cut)

    def given(self) -> list[str]:
        return [spoken.text for spoken in sorted(self.streams.take(), key=lambda one: one.step)]


def test_nothing_of_a_segment_is_given_before_its_final() -> None:
    talk = Talk()
    talk.hears("so I was")
    assert (talk.given(), talk.streams.held) == ([], 1)
    talk.hears("so I was thinking", final=True)
    assert talk.given() == ["so I was", "so I was thinking"]
    assert talk.streams.held == 0


def test_a_number_that_is_split_over_two_partials_is_masked_in_both() -> None:
    talk = Talk()
    talk.hears("my card is 4111 11")
    talk.hears("my card is 4111 1111 1111")
    talk.hears("my card is 4111 1111 1111 1111, thanks", final=True)
    assert talk.given() == [
        "my card is xxxx xx",
        "my card is xxxx xxxx xxxx",
        "my card is xxxx xxxx xxxx xxxx, thanks",
    ]


def test_what_only_a_partial_shows_is_masked_in_the_final_too() -> None:
    talk = Talk()
    talk.hears("it is jane@example.com")
    talk.hears("it is jane at the example", final=True)
    given = talk.given()
    assert "jane" not in " ".join(given)


def test_a_word_that_is_masked_in_a_partial_is_masked_in_the_final() -> None:
    talk = Talk()
    talk.hears("write to bob at acme dot com")
    talk.hears("write to bob at the door", final=True)
    assert talk.given() == ["write to xxx xx xxxx xxx xxx", "write to xxx xx the door"]


def test_a_code_is_masked_that_comes_in_the_segment_after_its_name() -> None:
    talk = Talk()
    talk.hears("die Kartenprüfnummer", final=True)
    assert talk.given() == [], "it may go on"
    talk.hears("ist 729", segment=1, final=True)
    talk.streams.end("stt")
    assert talk.given() == ["die Kartenprüfnummer", "ist xxx"]


def test_a_number_that_is_all_that_was_said_is_masked_for_it_may_be_what_was_asked_for() -> None:
    for text, masked in (("Ist 729.", "Ist xxx."), ("yes, it is 4512", "yes, it is xxxx")):
        talk = Talk()
        talk.hears(text, final=True)
        talk.streams.end("stt")
        assert talk.given() == [masked]
    talk = Talk()
    talk.hears("room 729", final=True)
    talk.hears("in 2026", segment=1, final=True)
    talk.answers("well")
    assert talk.given() == ["room 729", "in 2026", "well"]


def test_a_number_that_goes_on_in_the_next_segment_is_one_number() -> None:
    talk = Talk()
    talk.hears("four one one one one one", 0, final=True)
    assert talk.given() == []  # what it is depends on what comes
    talk.hears("one one one one, that's it", 1, final=True)
    assert talk.given() == ["xxxx xxx xxx xxx xxx xxx", "xxx xxx xxx xxx, that's it"]


def test_an_address_that_goes_on_in_the_next_segment_is_one_address() -> None:
    talk = Talk()
    talk.hears("schreib an max punkt muster", segment=0, final=True)
    talk.hears("ät web punkt de", segment=1, final=True)
    talk.streams.end("stt")
    assert "muster" not in " ".join(talk.given())


def test_a_password_after_a_pause_is_a_password() -> None:
    talk = Talk()
    talk.hears("my password is", 0, final=True)
    talk.hears("swordfish", 1, final=True)
    talk.streams.close()
    assert talk.given() == ["my password is", "xxxxxxxxx"]


def test_a_harmless_number_at_the_end_is_given_when_nothing_follows() -> None:
    talk = Talk()
    talk.hears("we meet at nine", final=True)
    assert talk.given() == []
    talk.streams.pass_time(30 * SECOND)
    assert talk.given() == ["we meet at nine"]


def test_the_pieces_of_an_answer_are_one_text() -> None:
    talk = Talk()
    talk.answers("Your number is 555", "-0", "132", ". Is that", " right?")
    assert talk.given() == ["Your number is xxx", "-x", "xxx", ". Is that", " right?"]


def test_an_answer_that_is_cut_in_a_number_does_not_show_its_beginning() -> None:
    talk = Talk()
    talk.answers("I noted four", " two four", cut=True)
    assert talk.given() == ["I noted xxxx", " xxx xxxx"]


def test_who_repeats_a_number_repeats_a_secret() -> None:
    talk = Talk()
    talk.hears("my pin is 739184, okay", final=True)
    talk.answers("I repeat: 739184, and also 739.", call="llm")
    talk.answers("nothing here", call="other")
    given = talk.given()
    assert given[0] == "my pin is xxxxxx, okay"
    assert "739" not in given[1]
    assert given[2] == "nothing here"


def test_who_is_answered_has_finished_his_number() -> None:
    talk = Talk()
    talk.hears("it is five five five", final=True)
    talk.answers("Thank you")
    assert talk.given() == ["it is xxxx xxxx xxxx", "Thank you"]


def test_two_keys_are_a_choice_and_four_are_a_code() -> None:
    talk = Talk()
    for key in "12":
        talk.streams.press(talk.held(key, final=True))
    talk.now = 10 * SECOND
    for key in "7391#":
        talk.streams.press(talk.held(key, final=True))
    talk.streams.close()
    assert "".join(talk.given()) == "12xxxx#"


def test_a_stream_without_an_end_is_given_masked_at_the_session_s() -> None:
    talk = Talk()
    talk.hears("order number 482")
    talk.streams.close()
    assert talk.given() == ["order number xxx"]
    assert talk.streams.held == 0


def test_what_there_is_no_room_for_is_never_given() -> None:
    talk = Talk()
    long = "word " * 20_000
    for _ in range(4):
        talk.hears(long)
    assert talk.streams.held == 0
    talk.hears("short", final=True)
    assert talk.given() == []
    assert talk.streams.dropped == 5
    talk.answers("another stream has room")
    assert talk.given() == ["another stream has room"]
    talk.streams.end("stt")
    talk.hears("and a new talk", 5, final=True)
    assert talk.given() == ["and a new talk"]


def test_the_number_of_held_texts_is_bounded() -> None:
    talk = Talk()
    for number in range(module.TEXTS_HELD_MAX + 5):
        talk.streams.go_on(f"call-{number}", talk.held("x"))
    assert talk.streams.held == module.TEXTS_HELD_MAX
    assert talk.streams.dropped == 5


def test_a_reordered_and_a_repeated_final_do_no_harm() -> None:
    talk = Talk()
    talk.hears("second", 1, final=True)
    talk.hears("first", 0, final=True)
    talk.hears("first", 0, final=True)
    talk.streams.end("stt")
    talk.streams.end("stt")
    talk.streams.end("nobody")
    assert talk.given() == ["second", "first", "first"]


def test_spans_say_what_was_masked() -> None:
    talk = Talk()
    talk.hears("mail jane@example.com now", final=True)
    (spoken,) = talk.streams.take()
    assert isinstance(spoken, Spoken)
    assert [(spoken.text[span.start : span.end], span.kind) for span in spoken.masked] == [
        ("xxxx@xxxxxxx.xxx", "email")
    ]
