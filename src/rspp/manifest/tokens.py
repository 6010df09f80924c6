"""A token opens one next step: that of one session, after one step, once. Or a person gives the signal.

Its first two parts name the session and the step that it follows, so that a wrong one can be told why it is wrong:

    <8 of the session's digest>-<8 of the step's digest>-<chance>
"""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet
from typing import Final

SIGNALS: Final = ("го", "go")
_PART: Final = 8


def is_signal(text: str) -> bool:
    return text.strip().casefold() in SIGNALS


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def bind(chance: str, session: str, step: str) -> str:
    return f"{_part(session)}-{_part(step)}-{chance}"


def wrong_with(token: str, given: str, session: str, step: str, used: AbstractSet[str]) -> tuple[str, str]:
    """Why a token does not open the step after this one, as code and sentence; ("", "") where it does.

    `given` is the one that the last result gave. The reasons are told from the most telling to the least.
    """
    if sha256_of(token) in used:
        return "manifest_token_used", "this token was used already; each opens one step"
    of_session, _, rest = token.partition("-")
    if rest and of_session != _part(session):
        return "manifest_token_foreign", f"this token is of another session than {session}"
    if rest and rest.partition("-")[0] != _part(step):
        return "manifest_token_other_step", f"this token follows another step than {step}, the last one"
    if not given:
        return "manifest_token_wrong", "the last result has given no token"
    if token != given or not rest:
        return "manifest_token_wrong", "this is not the token that the last result gave"
    return "", ""


def _part(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_PART]


__all__ = ["SIGNALS", "bind", "is_signal", "sha256_of", "wrong_with"]
