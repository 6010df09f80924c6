"""No listed text passes, however the stream is cut: words are removed or replaced before anybody sees them.

Texts match without regard to case, and as whole words. A streamed answer comes in pieces that may cut a listed text
in two, so the end of each piece is held back for as long as a match could still grow out of it; the stream's final
lets go of it. A transcript's revisions are whole texts and are filtered as they come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.contract.event import Event, Text
from rspp.contract.words import CancelReason
from rspp.kernel.hosting import Context
from rspp.spec.catalog import FilterConfig

LINK: Final = re.compile(r"!?\[([^\]\n]{0,256})\]\([^)\s]{0,1024}\)")
# Emphasis, code and strike marks; an underscore inside a word is part of it.
MARKS: Final = re.compile(r"[*`~]+|(?<!\w)_+|_+(?!\w)|^[ \t]{0,3}(?:#{1,6}|>|[-+])[ \t]+", re.MULTILINE)
# What may still become a link.
OPEN_LINK: Final = re.compile(r"!?\[[^\]\n]{0,256}(?:\](?:\([^)\s]{0,1024})?)?\Z")


class TextFilter:
    """Filters what passes through it."""

    def __init__(self, config: Mapping[str, object]) -> None:
        settings = msgspec.convert(dict(config), FilterConfig)
        self._words = {text.casefold(): "" for text in settings.remove if text}
        self._words.update({old.casefold(): new for old, new in settings.replace.items() if old})
        self._pattern = _pattern(self._words)
        # One more than the longest match: its end is known only by what follows.
        self._reach = max(map(len, self._words), default=0) + 1
        self._strip = settings.markdown == "strip"
        self._held = ""
        self._before = "\n"
        self._turn: str | None = None

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        text = event.payload
        if not isinstance(text, Text):
            return
        if event.scope.turn_id != self._turn:
            self._turn, self._held, self._before = event.scope.turn_id, "", "\n"
        streamed = text.role == "assistant"
        if not streamed:
            self._before = "\n"
        words = self._held + text.text if streamed else text.text
        cut = len(words)
        if streamed:
            cut = cut if text.final else self._safe(words)
            self._held = words[cut:]
        passed = self._filtered(words[:cut])
        if passed or text.final:
            ctx.emit("text", msgspec.structs.replace(text, text=passed))

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self._held = ""

    def _safe(self, words: str) -> int:
        """How much of a text may go: no match reaches over this place, whatever follows."""
        cut = max(0, len(words) - self._reach)
        while cut > 0 and not words[cut - 1].isspace():
            cut -= 1
        if self._strip and (opened := OPEN_LINK.search(words)) is not None:
            cut = min(cut, opened.start())
        for pattern in (LINK if self._strip else None, self._pattern):
            for match in pattern.finditer(words) if pattern else ():
                if match.start() < cut < match.end():
                    cut = match.start()
        return cut

    def _filtered(self, words: str) -> str:
        if self._strip:
            words = self._spoken(words)
        if self._pattern is None:
            return words
        return self._pattern.sub(lambda match: self._words.get(match.group().casefold(), ""), words)

    def _spoken(self, words: str) -> str:
        """Without marks. What stood before this piece decides what is the beginning of a line, or of a word."""
        before, self._before = self._before, _before(words[-1:] or self._before)
        return MARKS.sub("", LINK.sub(r"\1", before + words))[1:]


def _before(character: str) -> str:
    """A character that begins lines and words where this one does, and is no mark itself."""
    return "\n" if character == "\n" else "x" if character.isalnum() else "."


def _pattern(words: Mapping[str, str]) -> re.Pattern[str] | None:
    """One pattern for all texts, the longest first; a text that begins or ends in a letter matches whole words."""
    if not words:
        return None
    each = [
        (r"(?<!\w)" if text[0].isalnum() else "")
        + re.escape(text)
        + (r"(?!\w)" if text[-1].isalnum() else "")
        for text in sorted(words, key=lambda text: (-len(text), text))
    ]
    return re.compile("|".join(each), re.IGNORECASE)
