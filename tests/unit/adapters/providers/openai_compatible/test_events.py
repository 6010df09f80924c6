"""Events come out the same however their bytes were cut, and nothing without an end is held."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.adapters.providers.openai_compatible.events import (
    ANSWER_BYTES_MAX,
    EVENT_BYTES_MAX,
    EventParser,
    EventReader,
    read_whole,
)
from rspp.host.ports import ProviderError


def parsed(*chunks: bytes) -> list[str]:
    parser = EventParser()
    found = [event for chunk in chunks for event in parser.feed(chunk)]
    return found + parser.end()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_three_line_breaks_end_a_line(end: str) -> None:
    text = f"data: one{end}{end}: a comment{end}event: x{end}id: 7{end}data:two{end}data: three{end}{end}{end}data{end}{end}"
    assert parsed(text.encode()) == ["one", "two\nthree", ""]


@given(
    st.lists(st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), max_size=20), max_size=5),
    st.data(),
)
def test_where_the_bytes_are_cut_makes_no_difference(texts: list[str], data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    whole = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert parsed(*pieces) == texts
    assert parsed(*(bytes([byte]) for byte in whole)) == texts


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser_in_an_unknown_way(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        parsed(noise)


def test_a_mark_of_the_encoding_at_the_start_is_skipped_and_the_last_line_break_may_be_missing() -> None:
    assert parsed(b"\xef", b"\xbb\xbfdata: a\n\nda", b"ta: b") == ["a", "b"]
    assert parsed(b"data: a\n") == ["a"]
    assert parsed() == []


@pytest.mark.parametrize("line", [b"data: ", b"data: x\n", b": ", b"x"])
def test_an_event_or_a_line_without_end_is_refused_and_not_held(line: bytes) -> None:
    parser = EventParser()
    with pytest.raises(ValueError, match="larger than"):  # noqa: PT012 - whichever piece is the one too many
        for _ in range(EVENT_BYTES_MAX):
            parser.feed(line * 64 if b"\n" in line else line + b"y" * 4096)
    assert len(parser._rest) < EVENT_BYTES_MAX + 8192


async def stream(*chunks: bytes, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(pause_s)
        yield chunk


def test_a_drip_that_never_makes_an_event_is_a_timeout() -> None:
    async def main() -> None:
        reader = EventReader("p", stream(*[b"d"] * 10_000, pause_s=0.005), 60)
        with pytest.raises(TimeoutError):
            await reader.next()

    asyncio.run(main())


def test_an_endless_answer_is_refused() -> None:
    async def main() -> None:
        piece = b"data: " + b"x" * 60_000 + b"\n\n"
        reader = EventReader("p", stream(*[piece] * 200), 5000)
        read = 0
        with pytest.raises(ProviderError, match="larger than"):  # noqa: PT012 - whichever event is the one too many
            while events := await reader.next():
                read += len(events) * len(piece)
        assert read <= ANSWER_BYTES_MAX
        with pytest.raises(ProviderError, match="larger than"):
            await read_whole("p", stream(*[piece] * 200), 5000)
        with pytest.raises(ProviderError, match="empty"):
            await read_whole("p", stream(), 5000)

    asyncio.run(main())


def test_a_text_that_is_not_utf8_is_the_peers_fault() -> None:
    async def main() -> None:
        with pytest.raises(ProviderError, match="UTF-8"):
            await EventReader("p", stream(b"data: \xff\n\n"), 1000).next()

    asyncio.run(main())
