"""Behaviour flags: a decision that changed keeps its old path for the recordings that were made under it.

A new session runs with `CURRENT`; its flags are in its open request and so in its recording, and a replay runs with
what it finds there. A number is never used again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Flag(IntEnum):
    # Without it a final that comes after its turn has opened is only noted. With it, a turn that has not been
    # heard yet is superseded and opened again with the amended words.
    LATE_FINAL_REOPENS = 1
    # Without it a caller who only coughs leaves the assistant paused until the decision's deadline. With it the
    # reply resumes as soon as the shortest end-of-turn silence has passed without a word.
    COUGH_RESUMES_EARLY = 2
    # Without it a turn's `audio_input_ingress_at` is when the last voice was believed, whoever's words the turn answers.
    # With it, it is the first voiced frame of the very utterance; a turn that nobody spoke for (digits) has none.
    INGRESS_OF_UTTERANCE = 3
    # Without it a turn's nondeterministic inputs are its calls of bound providers. With it they are all that was decided
    # outside while it lived: every call (a tool's, a waiting node's), each change of its lease, an operator's cancel.
    OUTSIDE_DECISIONS_LISTED = 4
    # Without it the caller's keys are saved when the session migrates, and die with a process that does. With it they are
    # saved as each turn closes, but for those of words that nobody has answered: those may be said again elsewhere. And in
    # one record with the history: a process that dies between two would leave a turn without its key, to be answered twice.
    KEYS_SAVED_WITH_TURNS = 5
    # Without it a session that has lost its authority while its caller still hears an answer waits for the end of that
    # answer, of which nothing more may be sent. With it it ends at once, and its caller may go where it goes on.
    ENDS_WITH_ITS_AUTHORITY = 6
    # Without it a metric or a debug remark takes a number of the session's own sequence, so that whoever debugs sees the
    # others' numbers move. With it telemetry is numbered apart, and everything else is the same with it and without.
    TELEMETRY_NUMBERED_APART = 7


CURRENT: Final = tuple(sorted(int(flag) for flag in Flag))


def resolve(recorded: tuple[int, ...] | None) -> frozenset[int]:
    """The flags a session runs with: what its recording says, or today's."""
    flags = CURRENT if recorded is None else recorded
    unknown = [flag for flag in flags if flag not in CURRENT]
    if unknown:
        raise ValueError(f"behaviour flags {unknown} are unknown to this version, which has {list(CURRENT)}")
    return frozenset(flags)
