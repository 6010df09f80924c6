"""A JSON text is checked token by token, by the grammar of RFC 8259, before it is decoded."""

from __future__ import annotations

import math
import re
from enum import Enum, auto
from typing import Final

import msgspec

from rspp.contract.scan import INT_MAX, INT_MIN, CodecError, Frame, Limits, Seen, Walk, check_size

# Possessive repeats: what was read is never given back, so the time is linear in the text.
_STRING: Final = r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER: Final = r"-?(?:0|[1-9][0-9]*+)(?P<float>(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
TOKEN: Final = re.compile(
    rf"(?P<mark>[\[\]{{}}:,])|(?P<string>{_STRING})|(?P<number>{_NUMBER})"
    r"|(?P<word>true|false|null)|(?P<special>-?(?:NaN|nan|Infinity|inf))"
)
BLANK: Final = re.compile(r"[ \t\n\r]*+")
# The sign and the digits of the largest integer; anything longer is out of range without being read.
INT_CHARS_MAX: Final = 20


class Want(Enum):
    """What may come next."""

    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


def scan_json(data: bytes, limits: Limits) -> Seen:
    """What was written in a JSON text, or a `CodecError`."""
    check_size(data, limits)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CodecError("text_not_utf8", "", f"byte {error.start} is not UTF-8") from error
    walk, want = Walk(limits), Want.VALUE
    position = _after_blank(text, 0)
    while position < len(text):
        if want is Want.NOTHING:
            raise CodecError("trailing_bytes", "", f"something follows the value at character {position}")
        found = TOKEN.match(text, position)
        if found is None:
            walk.refuse("malformed", f"no JSON token at character {position}")
        want = _step(walk, want, found)
        position = _after_blank(text, found.end())
    if want is not Want.NOTHING:
        walk.refuse("truncated", "the text ends inside a value")
    return walk.seen


def _after_blank(text: str, position: int) -> int:
    blank = BLANK.match(text, position)
    return position if blank is None else blank.end()


def _step(walk: Walk, want: Want, found: re.Match[str]) -> Want:
    kind, token = found.lastgroup, found.group()
    if kind == "mark":
        return _mark(walk, want, token, found.start())
    if want in (Want.KEY, Want.KEY_OR_END) and kind == "string":
        walk.take_key(_string(walk, token))
        return Want.COLON
    if want not in (Want.VALUE, Want.VALUE_OR_END):
        walk.refuse("malformed", f"a value is not expected at character {found.start()}")
    if kind == "special":
        walk.refuse("number_not_finite", f"{token} is not JSON and not a value")
    if kind == "string":
        walk.take_text(_string(walk, token))
    elif kind == "number":
        _number(walk, token, is_float=bool(found["float"]))
    return _done(walk)


def _mark(walk: Walk, want: Want, token: str, position: int) -> Want:
    if token in "[{" and want in (Want.VALUE, Want.VALUE_OR_END):
        walk.enter(Frame(is_map=token == "{"))
        return Want.KEY_OR_END if token == "{" else Want.VALUE_OR_END
    if token == ":" and want is Want.COLON:
        return Want.VALUE
    if token == "," and want is Want.COMMA_OR_END:
        return Want.KEY if walk.stack[-1].is_map else Want.VALUE
    # An end is wanted only inside a container, so there is one to compare with.
    ends = token in "]}" and want in (Want.COMMA_OR_END, Want.KEY_OR_END, Want.VALUE_OR_END)
    if not ends or walk.stack[-1].is_map != (token == "}"):
        walk.refuse("malformed", f"{token!r} is not expected at character {position}")
    walk.leave()
    return _done(walk)


def _done(walk: Walk) -> Want:
    walk.value_done()
    return Want.COMMA_OR_END if walk.stack else Want.NOTHING


def _string(walk: Walk, token: str) -> str:
    """The text behind a string token. Equal keys may be written differently, so escapes are resolved."""
    if "\\" not in token:
        return token[1:-1]
    try:
        return msgspec.json.decode(token, type=str)
    except msgspec.DecodeError:
        # The grammar holds, so what is wrong is half of a surrogate pair.
        walk.refuse("text_not_utf8", "an escape names half of a surrogate pair")


def _number(walk: Walk, token: str, *, is_float: bool) -> None:
    if is_float:
        if not math.isfinite(float(token)):
            walk.refuse("number_out_of_range", "the number is larger than a double")
    elif len(token) > INT_CHARS_MAX or not INT_MIN <= int(token) <= INT_MAX:
        walk.refuse("number_out_of_range", "the integer does not fit 64 bits")
