"""Every name has a subject of its own, of bounded length, and is found under each of its prefixes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rspp.adapters.stores.nats import names
from rspp.host.stored import NAME_BYTES_MAX

# What servers take of a line, without the reply's address and the sizes.
SUBJECT_BYTES_MAX = 2_048
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
AWKWARD = (
    "a",
    "/",
    "a/",
    "/a",
    "//",
    ".",
    "*",
    ">",
    "a.b",
    "a b",
    "%",
    "%%",
    "%2E",
    "ü",
    "A",
    "a\0b",
    "\n",
    "$JS",
)


def matches(subject: str, filtered: str) -> bool:
    wanted, found = filtered.split("."), subject.split(".")
    assert wanted.pop() == ">"
    return len(found) > len(wanted) and found[: len(wanted)] == wanted


def is_subject(subject: str) -> bool:
    tokens = subject.split(".")
    plain = subject.isascii() and all(32 < ord(letter) < 127 for letter in subject)
    return plain and all(tokens) and not any(one in ("*", ">") for one in tokens)


def test_awkward_names_have_subjects_of_their_own() -> None:
    found = {names.subject("ns", "k", name=name) for name in AWKWARD}
    assert len(found) == len(AWKWARD)
    assert all(map(is_subject, found))


@given(one=TEXT, other=TEXT)
def test_two_names_never_share_a_subject(one: str, other: str) -> None:
    assert (names.subject("k", name=one) == names.subject("k", name=other)) == (one == other)


@given(name=TEXT, at=st.integers(0, 40))
def test_a_name_is_found_under_each_of_its_prefixes(name: str, at: int) -> None:
    subject = names.subject("ns", "k", name=name)
    assert is_subject(subject)
    assert matches(subject, names.below("ns", "k", prefix=name[:at]))


@given(name=TEXT)
def test_a_name_comes_back_from_its_header(name: str) -> None:
    written = names.to_header(name)
    assert written.isascii()
    assert written.isprintable()
    assert names.from_header(written) == name


def test_the_longest_names_stay_below_what_a_server_takes() -> None:
    for name in ("x" * NAME_BYTES_MAX, "ü" * (NAME_BYTES_MAX // 2), "/" * NAME_BYTES_MAX, "%/" * 512):
        assert len(names.subject("n" * 32, "k", names.token(name), name=name)) < SUBJECT_BYTES_MAX


def test_a_prefix_deeper_than_the_tokens_still_finds_its_names() -> None:
    deep = "/".join("abcdefghijklmnop")
    subject = names.subject("k", name=deep)
    for end in range(len(deep) + 1):
        assert matches(subject, names.below("k", prefix=deep[:end]))
