"""What stands in the place of a text: of the same shape, equal where the words are equal, and nothing to be had back.

    "My card is 4111"  ->  "Qz wvkj xy 7302"

A kernel decides the same from it, for all that it asks of a text is its shape, whether two texts have the same words, and
whether they are one of a few listed ones; so those stay as they are. The key is drawn once a session, kept in memory, never
written. Words are told apart by a table of theirs; numbers, single letters and mixed tokens are enciphered by all that was
said before them, so that the same digit never looks the same twice and a number that is readable elsewhere gives no other
one away.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from rspp.timeline.redaction.spoken import TIMES, means

KEY_BYTES: Final = 32
# Different words of one session that are told apart; what comes then may be taken for another word.
WORDS_MAX: Final = 32_768
_TRIES_MAX: Final = 64
_FALSE: Final = "xyzqwkjv"
_RAW: Final = re.compile(r"\S+")
_KEPT: Final = "'-"


def _span(first: int, count: int, step: int = 1) -> str:
    return "".join(chr(first + step * place) for place in range(count))


# Letters of other scripts become letters of as many bytes, and of the same case where there are cases.
_LOWER: Final = {2: _span(0x561, 32), 3: _span(0x1E01, 32, 2), 4: _span(0x10428, 32)}
_UPPER: Final = {2: _span(0x531, 32), 3: _span(0x1E00, 32, 2), 4: _span(0x10400, 32)}
_UNCASED: Final = {2: _span(0x780, 32), 3: _span(0xA000, 32), 4: _span(0x12000, 32)}
_NUMERALS: Final = {2: _span(0x660, 10), 3: _span(0xFF10, 10), 4: _span(0x1D7CE, 10)}


def alphabet_of(character: str) -> str:
    """Of which letters or digits one takes the place of this character; "" if it stays."""
    if character.isalpha():
        size = len(character.encode())
        if character.isupper():
            return _UPPER[size]
        return (_LOWER if character.upper() != character else _UNCASED)[size]
    return _NUMERALS[len(character.encode())] if character.isalnum() else ""


def _put(character: str, value: int, letters: str = _FALSE) -> str:
    """The character's stand-in, drawn by a number."""
    if character.isascii():
        if character.isdigit():
            return chr(48 + value % 10)
        if character.isalpha():
            letter = letters[value % len(letters)]
            return letter.upper() if character.isupper() else letter
        return character
    alphabet = alphabet_of(character)
    return alphabet[value % len(alphabet)] if alphabet else character


def _shift(character: str, value: int) -> str:
    """The character moved on in its own alphabet: different ones stay different."""
    if character.isascii():
        if character.isdigit():
            return chr(48 + (ord(character) - 48 + value) % 10)
        if character.isalpha():
            base = 65 if character.isupper() else 97
            return chr(base + (ord(character) - base + value) % 26)
        return character
    return _put(character, ord(character.lower()[0]) + value)


class StandIns:
    """The stand-ins of one session."""

    __slots__ = ("_keep", "_key", "_seen", "_taken", "_words")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = token_bytes(KEY_BYTES) if key is None else key
        if len(self._key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._keep: frozenset[str] = frozenset()
        self._words: dict[str, bytes] = {}  # bounded: WORDS_MAX
        self._seen: dict[str, tuple[str, str]] = {}  # bounded: WORDS_MAX; as they were written
        self._taken: set[str] = set()  # bounded: with the words

    def __repr__(self) -> str:
        return "StandIns()"

    def keep(self, words: Collection[str]) -> None:
        """These words are everybody's, and stand for themselves; a number is nobody's."""
        self._keep = frozenset(word for word in map(normal, words) if word and not numeric(word))
        self._taken |= self._keep
        self._seen.clear()

    def text(self, text: str, after: bytes = b"") -> str:
        """The stand-in of a text; `after` stands for what was said before it."""
        kept: list[str] = []
        said: list[str] = []  # what is not folded into `after` yet
        end = 0
        for match in _RAW.finditer(text):
            raw = match[0]
            known = self._seen.get(raw)
            if known is None:
                word = normal(raw)
                if word and numeric(word):
                    after = self._folded(after, said)
                    known = word, raw if word in self._keep else self._enciphered(raw, after)
                else:
                    known = word, self._token(raw, word)
                    if len(self._seen) < WORDS_MAX:
                        self._seen[raw] = known
            kept += [text[end : match.start()], known[1]]
            end = match.end()
            if known[0]:
                said.append(known[0])
        kept.append(text[end:])
        return "".join(kept)

    def follow(self, after: bytes, text: str) -> bytes:
        """What stands for everything said, this text included."""
        return self._folded(after, [word for raw in text.split() if (word := normal(raw))])

    def _folded(self, after: bytes, said: list[str]) -> bytes:
        """Word by word: however a talk was cut into texts, the same words leave the same behind."""
        for word in said:
            after = self._hash(after, word)
        said.clear()
        return after

    def opaque(self, text: str) -> str:
        """The stand-in of an identifier: different ones have different ones, whatever they look like."""
        return self._enciphered(text, b"opaque")

    def _token(self, raw: str, word: str) -> str:
        if not word or word in self._keep:
            return raw
        values = self._words.get(word) or self._new(word)
        kept, place = [], 0
        for character in raw:
            if character.isalnum():
                kept.append(_put(character, values[place % 64] + place // 64))
                place += 1
            else:
                kept.append(character)
        return "".join(kept)

    def _new(self, word: str) -> bytes:
        """Drawn until no other word of the session has it."""
        room = len(self._words) < WORDS_MAX
        turn = 0
        while True:
            values = self._hash(bytes((turn,)), word)
            looks = "".join(_put(c, values[i % 64] + i // 64) for i, c in enumerate(_alnum(word)))
            turn += 1
            if looks not in self._taken or turn >= _TRIES_MAX or not room:
                break
        if room:
            self._words[word] = values
            self._taken.add(looks)
        return values

    def _enciphered(self, raw: str, state: bytes) -> str:
        """Each character moved on by what stands before it."""
        kept = []
        state = self._hash(state, "")
        for character in raw:
            if character.isalnum():
                kept.append(_shift(character, int.from_bytes(state[:4])))
                state = self._hash(state, character.lower())
            else:
                kept.append(character)
        return "".join(kept)

    def _hash(self, after: bytes, text: str) -> bytes:
        return blake2b(after + b"\0" + text.encode(errors="surrogatepass"), key=self._key).digest()


def normal(raw: str) -> str:
    """A word as a kernel compares it: without marks, in small letters."""
    return "".join(c for c in raw.lower() if c.isalnum() or c in _KEPT)


def _alnum(word: str) -> str:
    return "".join(c for c in word if c.isalnum())


def numeric(word: str) -> bool:
    """Is a word a number, a single letter, or neither word nor number: a piece of something that is spelled or typed?"""
    plain = word.strip(_KEPT)
    return (
        len(plain) == 1
        or not all(c.isalpha() or c in _KEPT for c in plain)
        or any(means(part) is not None or part in TIMES for part in plain.split("-"))
    )
