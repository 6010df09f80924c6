"""Streamed text leaves in pieces fit to be spoken: whole sentences, none lost, none twice, in order.

A piece ends at a sentence's end, and only there, unless it grows past `characters_max`. A full stop ends a sentence
when white space follows it and the word before it is no abbreviation, initial or list number: so what stands at the
very end of the text so far waits for the next character, or for the stream's final.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.contract.event import Event, Text
from rspp.contract.words import CancelReason
from rspp.kernel.hosting import OUTPUTS_PER_STEP_MAX, Context
from rspp.spec.catalog import SegmenterConfig

# Words whose full stop does not end a sentence. "etc." and "no." are missing on purpose: both end sentences too often.
ABBREVIATIONS: Final = frozenset(
    {
        "dr", "mr", "mrs", "ms", "prof", "st", "sr", "jr", "vs", "ca", "cf", "fig", "vol", "approx", "dept", "est",
        "gen", "sen", "rep", "capt", "lt", "col", "sgt", "inc", "ltd", "co", "corp", "e.g", "i.e", "a.m", "p.m",
        "u.s", "z.b", "d.h", "bzw", "usw", "nr",
    }
)  # fmt: skip
# What may stand between a full stop and the space after it.
CLOSERS: Final = "\"')]}»”’"
# A mark that ends a sentence in a script without spaces needs nothing after it.
WIDE: Final = "。！？"
# Half the bound of a step, because a filter behind this node may emit as well in one step of its own.
PIECES_PER_STEP_MAX: Final = OUTPUTS_PER_STEP_MAX // 2


class Segmenter:
    """Cuts one turn's stream at a time."""

    def __init__(self, config: Mapping[str, object]) -> None:
        settings = msgspec.convert(dict(config), SegmenterConfig)
        self._min = settings.characters_min
        self._max = max(settings.characters_max, settings.characters_min)
        dotted = "." in settings.punctuation
        # An ellipsis and the wide marks mean what the narrow ones mean.
        self._ends = settings.punctuation + ("…" + WIDE if dotted else "")
        self._held = ""
        self._turn: str | None = None
        self._segment = 0

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        text = event.payload
        if not isinstance(text, Text):
            return
        if event.scope.turn_id != self._turn:
            self._forget(event.scope.turn_id)
        self._held += text.text
        pieces = self._cut()
        if text.final:
            pieces.append(self._held)
            self._held = ""
        for piece in _within_step([piece.strip() for piece in pieces if piece.strip()]):
            ctx.emit(
                "text",
                Text(piece, segment=self._segment, final=True, language=text.language, role="assistant"),
            )
            self._segment += 1

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self._forget(None)

    def _forget(self, turn: str | None) -> None:
        self._held, self._turn, self._segment = "", turn, 0

    def _cut(self) -> list[str]:
        """Take every piece that is whole from the front of what is held."""
        pieces: list[str] = []
        while (end := self._end_of_piece()) is not None:
            pieces.append(self._held[:end])
            self._held = self._held[end:]
        return pieces

    def _end_of_piece(self) -> int | None:
        """Where the first piece ends, or None while it is not whole yet."""
        held = self._held
        start = len(held) - len(held.lstrip())
        for index in range(start, min(len(held), start + self._max)):
            if held[index] not in self._ends:
                continue
            end = _after_mark(held, index, self._ends)
            if end is not None and len(held[start:end].rstrip()) >= self._min:
                return end
        return _last_gap(held, start, self._max) if len(held) - start > self._max else None


def _after_mark(text: str, index: int, ends: str) -> int | None:
    """The place just after a sentence that ends with the mark at `index`; None if it does not end there, or not yet."""
    mark = text[index]
    if mark.isspace() or mark in WIDE:
        return index + 1
    after = index + 1
    while after < len(text) and (text[after] in ends or text[after] in CLOSERS) and not text[after].isspace():
        after += 1
    if after >= len(text) or not text[after].isspace():
        return None
    alone = after == index + 1
    return None if mark == "." and alone and _is_abbreviated(text, index) else after


def _is_abbreviated(text: str, index: int) -> bool:
    """Does the full stop at `index` belong to its word: an abbreviation, an initial, or the number of a list item?"""
    begin = max(text.rfind(" ", 0, index), text.rfind("\n", 0, index)) + 1
    word = text[begin:index].lstrip("(\"'“‘")
    initial = len(word) == 1 and word.isalpha() and word.isupper() and word != "I"
    list_number = word.isdigit() and not text[:begin].strip()
    return initial or list_number or word.lower() in ABBREVIATIONS


def _last_gap(text: str, start: int, length_max: int) -> int:
    """Where to cut a piece that will not end: at the last white space that is not too far, else in the word."""
    window = text[start : start + length_max]
    for index in range(len(window) - 1, len(window) // 2, -1):
        if window[index].isspace():
            return start + index + 1
    return start + length_max


def _within_step(pieces: list[str]) -> list[str]:
    """What exceeds a step's outputs travels as one long piece: too long is better than lost."""
    if len(pieces) <= PIECES_PER_STEP_MAX:
        return pieces
    return [*pieces[: PIECES_PER_STEP_MAX - 1], " ".join(pieces[PIECES_PER_STEP_MAX - 1 :])]
