"""No listed text passes, however the stream is cut: words are removed or replaced before anybody sees them.

What complies with a rule is counted (`filter.card`, `filter.banned`, ...), what stops a turn as well (`filter.blocked`); if
this node fails, the event that it failed on goes nowhere, so a fault of ours says too little and never too much.

Texts match without regard to case, and as whole words. A streamed answer comes in pieces that may cut a listed text
in two, so the end of each piece is held back for as long as a match could still grow out of it; the stream's final
lets go of it. A transcript's revisions are whole texts and are filtered as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from rspp.contract.event import Event, Text
from rspp.contract.words import CancelReason
from rspp.kernel.hosting import Context
from rspp.nodes.redaction import Redactor
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
        banned = {text.casefold(): "" for text in settings.banned if text}
        self._banned = _pattern(banned)
        self._personal = Redactor(settings.personal)
        self._action, self._instead = settings.action, settings.instead
        # One more than the longest match: its end is known only by what follows.
        self._reach = max(map(len, [*self._words, *banned]), default=0) + 1
        self._blocked = False
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
            self._blocked = False
        streamed = text.role == "assistant"
        if not streamed:
            self._before = "\n"
        words = self._held + text.text if streamed else text.text
        cut = len(words)
        if streamed:
            cut = cut if text.final else self._safe(words)
            self._held = words[cut:]
        passed = self._complied(ctx, words[:cut], streamed)
        if passed or text.final:
            ctx.emit("text", msgspec.structs.replace(text, text=passed))

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None:
        self._held, self._blocked = "", False

    def _complied(self, ctx: Context, words: str, streamed: bool) -> str:
        """What of these words may be said, once the rules and then the wishes were heard."""
        if streamed and self._blocked:
            return ""
        redacted, found = self._personal.apply(words, self._in_place_of)
        if self._banned is not None:
            redacted, count = self._banned.subn(lambda _: self._in_place_of("banned"), redacted)
            found = {**found, "banned": count} if count else found
        for kind, count in found.items():
            ctx.metric(f"filter.{kind}", count)
        if found and self._action == "block":
            ctx.metric("filter.blocked", 1)
            ctx.note(f"blocked: {', '.join(sorted(found))}")
            self._blocked = streamed
            return self._instead
        return self._filtered(redacted)

    def _in_place_of(self, kind: str) -> str:
        return self._instead if self._action == "replace" else f"[{kind}]"

    def _safe(self, words: str) -> int:
        """How much of a text may go: no match reaches over this place, whatever follows."""
        cut = min(max(0, len(words) - self._reach), self._personal.open_from(words))
        if self._strip and (opened := OPEN_LINK.search(words)) is not None:
            cut = min(cut, opened.start())
        while True:
            while cut > 0 and not words[cut - 1].isspace():
                cut -= 1
            crossed = [start for start, end in self._spans(words) if start < cut < end]
            if not crossed:
                return cut
            cut = min(crossed)

    def _spans(self, words: str) -> Iterator[tuple[int, int]]:
        """Every place that a cut may not divide."""
        yield from self._personal.spans(words)
        for pattern in (LINK if self._strip else None, self._pattern, self._banned):
            for match in pattern.finditer(words) if pattern else ():
                yield match.span()

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
