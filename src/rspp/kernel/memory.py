"""The conversation as both sides know it: what the caller said, and of what the assistant said, what was heard.

Durable: it is saved after each turn, and a session that moves goes on with it. Bounded: the oldest goes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from rspp.kernel.effects import Message
from rspp.kernel.turn import Turn

USER, ASSISTANT = "user", "assistant"
# The one record of what a successor goes on with: "history", "next_turn" and "keys".
CONVERSATION: Final = "conversation"


def conversation_in(values: Mapping[str, object]) -> Mapping[str, object]:
    """What a successor goes on with; sessions of before (`Flag.KEYS_SAVED_WITH_TURNS`) kept it in three records."""
    whole = values.get(CONVERSATION)
    return whole if isinstance(whole, Mapping) else values


class Conversation:
    """One session's conversation."""

    __slots__ = ("_messages",)

    def __init__(self, messages_max: int) -> None:
        self._messages: deque[Message] = deque(maxlen=max(2, messages_max))

    def history(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    def restore(self, value: object) -> None:
        """Take what the durable state holds; anything that is not a conversation is left out."""
        self._messages.clear()
        if isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, (list, tuple)) and len(item) == 2:
                    self._messages.append(Message(str(item[0]), str(item[1])))

    def export(self) -> list[list[str]]:
        return [[message.role, message.text] for message in self._messages]

    def remember(self, turn: Turn, now: int) -> bool:
        """Keep a turn that has ended; returns whether the assistant's words had to be cut to what was heard."""
        if turn.terminal == "abort" and turn.speculative:
            return False
        if turn.intent.text and not turn.intent.say and not turn.superseded:
            self._messages.append(Message(USER, turn.intent.text))
        full = sent_text(turn)
        heard = full if turn.terminal == "commit" else heard_text(turn, now)
        if heard:
            self._messages.append(Message(ASSISTANT, heard))
        return heard != full

    def amend_user(self, old: str, new: str) -> bool:
        """A later transcript knows better what the caller said."""
        for index in range(len(self._messages) - 1, -1, -1):
            message = self._messages[index]
            if message.role == USER and message.text == old:
                self._messages[index] = Message(USER, new)
                return True
        return False

    def truncate(self, turn: Turn, now: int) -> bool:
        """Playback of a committed turn was cut: keep what was heard of it."""
        full, heard = sent_text(turn), heard_text(turn, now)
        if heard == full or not self._messages or self._messages[-1] != Message(ASSISTANT, full):
            return False
        if heard:
            self._messages[-1] = Message(ASSISTANT, heard)
        else:
            self._messages.pop()
        return True


def sent_text(turn: Turn) -> str:
    """Everything that the turn has said or sent."""
    if turn.playout.first_sent_at is None:
        return " ".join(turn.said)
    speeches = {segment.call_id: segment.speech for segment in turn.playout.segments}
    return " ".join(speech.text.strip() for speech in speeches.values() if speech.text.strip())


def heard_text(turn: Turn, now: int) -> str:
    if turn.playout.first_sent_at is None:
        return " ".join(turn.said)
    return turn.playout.heard_text(now)
