"""No secret leaves redaction, no ordinary value is lost to it, and whatever it is given it stays within its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rspp.ops.journal import bounds
from rspp.ops.journal.record import faults_of
from rspp.ops.journal.redaction import CUT_KEY, metadata_of, text_of
from rspp.timeline.redaction import forms
from rspp.timeline.redaction.forms import Kind, without_secrets
from rspp.timeline.redaction.keywords import names_a_digest, names_a_secret
from tests.unit.ops.journal.planted import HEX, HEX64, JWT, ORDINARY, PLAIN, PLANTED, URLSAFE, Planted

texts = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["token", "password: ", "Bearer ", "[redacted]", "...[+12]", "https://a:b@c", JWT, HEX, "env://A"]
    ),
    st.lists(
        st.sampled_from(["key", "=", ":", " ", "[", "]", "sk-", HEX, "x", "%3D", '"', "\u200b"]), max_size=12
    ).map("".join),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=40), st.dictionaries(texts, inner, max_size=40)),
    max_leaves=20,
)


def test_there_are_a_hundred_shapes_and_no_two_have_one_name() -> None:
    assert len({one.name for one in PLANTED}) == len(PLANTED) == 100


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.name)
def test_a_planted_secret_is_not_in_what_is_written(planted: Planted) -> None:
    assert planted.secret not in json.dumps(metadata_of(planted.metadata), ensure_ascii=False)


@pytest.mark.parametrize("ordinary", ORDINARY, ids=lambda one: next(iter(one)))
def test_what_operators_read_stays_as_it_is(ordinary: dict[str, Any]) -> None:
    assert metadata_of(ordinary) == ordinary


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(metadata=st.dictionaries(texts, values, max_size=40))
@example(metadata={"a": "password: " + "b " * 400})
@example(metadata={"a": ["x" * 600] * 40, CUT_KEY: 3})
def test_whatever_comes_is_cleaned_within_the_bounds_and_once_is_enough(metadata: dict[str, Any]) -> None:
    cleaned = metadata_of(metadata)
    assert metadata_of(cleaned) == cleaned
    assert (
        len(json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode())
        <= bounds.METADATA_BYTES_MAX
    )
    assert [one for one in faults_of({"metadata": cleaned}) if one.field == "metadata"] == []


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=300) | texts, kind=st.sampled_from(Kind))
def test_a_text_that_is_clean_stays_clean(text: str, kind: Kind) -> None:
    cleaned = text_of(text, kind=kind)
    assert text_of(cleaned, kind=kind) == cleaned
    assert len(cleaned) <= bounds.TEXT_CHARACTERS_MAX


@settings(max_examples=30, deadline=None)
@given(text=st.from_regex(forms._HARMLESS, fullmatch=True))
def test_the_shortcut_for_short_values_finds_what_the_whole_search_finds(text: str) -> None:
    assert list(forms._places(text, Kind.FREE)) == []


UUID = "0191f2c0-1111-7abc-8def-0123456789ab"


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("between", ["/", "-", "_", "+"])
def test_a_secret_does_not_hide_behind_an_identity(between: str, kind: Kind) -> None:
    for text in (f"{UUID}{between}{URLSAFE}", f"{URLSAFE}{between}{UUID}"):
        assert URLSAFE not in without_secrets(text, kind)
    assert without_secrets(f"session-{UUID}{between}turn-1", kind) == f"session-{UUID}{between}turn-1"


@pytest.mark.parametrize(
    "text",
    [
        "01JD3X8Q7Z9K2M4N6P8R0T2V4W",
        "session-01JD3X8Q7Z9K2M4N6P8R0T2V4W",
        "acme/session-01JD3X8Q7Z9K2M4N6P8R0T2V4W/turn-1",
        "CA0f3c9b1e5d7a4c2b8e6f0a1d3c5b7e9f",
        HEX,
        UUID,
    ],
)
def test_what_sessions_are_called_elsewhere_is_an_identity(text: str) -> None:
    assert without_secrets(text, Kind.IDENTITY) == text
    assert URLSAFE not in without_secrets(f"{text}-{URLSAFE}", Kind.IDENTITY)


def test_a_long_text_says_how_much_is_missing() -> None:
    cut = text_of("word " * 200)
    assert cut.endswith(f"...[+{1_000 - len(cut.rpartition('...')[0])}]")
    assert cut.startswith("word word")


def test_what_does_not_fit_a_map_or_a_list_is_counted() -> None:
    cleaned = metadata_of({"many": {str(n): n for n in range(100)}, "list": list(range(100))})
    assert cleaned["many"][CUT_KEY] == 100 - len(cleaned["many"]) + 1
    assert cleaned["list"][-1] == "[+69]"
    assert len(cleaned["list"]) == bounds.ITEMS_MAX


def test_metadata_that_is_too_large_keeps_its_first_keys_and_says_that_some_are_missing() -> None:
    cleaned = metadata_of({f"k{n}": "word " * 100 for n in range(30)})
    assert "k0" in cleaned
    assert cleaned[CUT_KEY] == 30 - (len(cleaned) - 1)


def test_an_object_is_told_by_its_kind_and_never_by_its_words() -> None:
    class Login:
        def __repr__(self) -> str:
            raise AssertionError("nobody asks")

        __str__ = __repr__

    assert metadata_of(
        {"a": Login(), "b": b"\xff\x00", "c": {1: 2, None: 3}, "d": float("nan"), "e": 2**70}
    ) == {
        "a": "[Login]",
        "b": "[bytes 2]",
        "c": {"1": 2, "[NoneType]": 3},
        "d": "[nan]",
        "e": "[int]",
    }


def test_a_map_that_holds_itself_ends() -> None:
    metadata: dict[str, Any] = {"a": 1}
    metadata["self"] = metadata
    assert "[deep]" in json.dumps(metadata_of(metadata))


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("tokens", 5, False),
        ("tokens_max", 5, False),
        ("token_count", 5, False),
        ("tokens", "abc", True),
        ("pin", 1234, True),
        ("password", True, False),
        ("password", None, False),
        ("keyboard", "x", False),
        ("passed", "x", False),
        ("author", "x", False),
        ("resumed", "x", False),
        ("approvals", 2, False),
        ("approval", "x", True),
        ("TOKEN", "x", True),
        ("mytoken", "x", True),
        ("tokenizer", "x", False),
        ("AWSSecretAccessKey", "x", True),
        ("token2", "x", True),
        ("", "x", False),
    ],
)
def test_names_tell_secrets_from_counts_and_from_what_sounds_alike(
    name: str, value: object, secret: bool
) -> None:
    assert names_a_secret(name, value) is secret


def test_a_digest_is_spared_only_under_a_name_that_says_so() -> None:
    assert names_a_digest("sha256")
    assert names_a_digest("row")
    assert not names_a_digest("note")
    assert metadata_of({"sha256": HEX64, "note": HEX64, "password_hash": HEX64}) == {
        "sha256": HEX64,
        "note": "[redacted]",
        "password_hash": "[redacted]",
    }


def test_an_identity_may_be_hexadecimal_and_no_drawn_token() -> None:
    assert without_secrets(HEX, Kind.IDENTITY) == HEX
    assert without_secrets(f"s/{URLSAFE}", Kind.IDENTITY) == "[redacted]"
    assert without_secrets(f"a?token={PLAIN}", Kind.IDENTITY) == "a?token=[redacted]"


def test_a_reference_to_a_secret_is_none() -> None:
    assert metadata_of({"note": "api_key=env://OPENAI_KEY"}) == {"note": "api_key=env://OPENAI_KEY"}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('{"credentials": {"user": "ann", "word": "amber-violin"}}', "amber-violin"),
        ("{'tokens': ['amber-violin', 'b']}", "amber-violin"),
        ('{"API KEY": "amber-violin"}', "amber-violin"),
        ('"{\\"clientSecret\\": \\"amber-violin\\"}"', "amber-violin"),
        ("""{"note": "{'token': 'amber-violin'}"}""", "amber-violin"),
        ("{'secret': b'amber-violin'}", "amber-violin"),
        (repr({"pass\u200bword": "amber-violin"}), "amber-violin"),
    ],
)
def test_what_is_written_as_a_structure_or_with_escapes_is_read_as_such(text: str, secret: str) -> None:
    done = without_secrets(text)
    assert secret not in done
    assert without_secrets(done) == done


@pytest.mark.parametrize(
    "text", ["tokens_max: 512", "approval: true", '"resume": null', "tokens_in=7 tokens_out=9"]
)
def test_counts_and_switches_in_words_are_no_secrets(text: str) -> None:
    assert without_secrets(text) == text
