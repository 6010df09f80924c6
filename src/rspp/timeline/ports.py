"""What a session's recorder needs: a place to append to, and somebody who says what may be kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Stepped
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.trace import Item
from rspp.spec.graph import GraphDefinition
from rspp.timeline import records as r

# Why something is not kept; what the disk itself says is in `timeline.writer`.
CLOSED: Final = "recorder_closed"
FULL: Final = "recorder_full"
NO_ROOM: Final = "no_room"

Kept = Callable[[str | None], None]


class Append(Protocol):
    """Where a session's records go: the local append. It never waits and never raises."""

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        """Take these records; False if there is no room for them. `reserved` is for evidence, which has room of its own.

        `kept` is called once on the loop's thread: with None when the bytes are in the file, else with the reason.
        """
        ...

    def close(self) -> None: ...


class Redactor(Protocol):
    """What may be kept of one session's contents. Streams of texts are judged whole, so a text is known late.

    `level` is the level that is in force; the recorder sets it.
    """

    level: RecordingLevel

    @property
    def policy_id(self) -> str: ...
    @property
    def settling(self) -> bool:
        """Does a stream of texts go on, whose last word is not yet spoken?"""
        ...

    @property
    def tainted(self) -> bool:
        """Was anything masked until now?"""
        ...

    @property
    def withheld(self) -> int:
        """Texts that are not here, or not whole."""
        ...

    def request(self, request: OpenRequest) -> OpenRequest: ...
    def graph(self, graph: GraphDefinition) -> GraphDefinition: ...
    def take(self, step: int, at: int, received: Input) -> Input:
        """The input with a stand-in of the same shape for its text."""
        ...

    def hear(self, step: int, at: int, received: Input, data: bytes) -> None:
        """Audio of an input, at L2."""
        ...

    def says(self, call_id: str, text: str) -> None:
        """A text that a call was given, at L2: its audio is judged by it."""
        ...

    def scored(self, at: int, probability: float) -> None:
        """How likely it is, at L2, that the caller speaks."""
        ...

    def listens(self, at: int, effect: Effect) -> None:
        """A call was begun, asked for what it owes, or killed, at L2: a recogniser answers for what it has heard."""
        ...

    def settled(self, *, all_of_it: bool = False) -> list[r.Spoken]:
        """Texts that are known now, masked; of all streams, if the session is over."""
        ...

    def sounds(self, *, all_of_it: bool = False) -> list[r.Sound]: ...
    def stepped(self, stepped: Stepped) -> Stepped:
        """What a node made, without what must not be kept, in the same shape."""
        ...

    def item(self, made: Item) -> Item:
        """An item whose details may hold what a peer wrote."""
        ...


class Everything:
    """A redactor that keeps everything as it is: for simulated callers, who have no secrets."""

    policy_id = "keep-everything/v1"
    settling = tainted = False
    withheld = 0

    def __init__(self) -> None:
        self.level = RecordingLevel.L1
        self._texts: list[r.Spoken] = []  # bounded: taken away with each batch
        self._sounds: list[tuple[int, bytes]] = []  # bounded: likewise

    def request(self, request: OpenRequest) -> OpenRequest:
        return request

    def graph(self, graph: GraphDefinition) -> GraphDefinition:
        return graph

    def take(self, step: int, at: int, received: Input) -> Input:
        text = _text_of(received)
        if text is not None:
            self._texts.append(r.Spoken(step, text))
        return received

    def hear(self, step: int, at: int, received: Input, data: bytes) -> None:
        self._sounds.append((step, data))

    def says(self, call_id: str, text: str) -> None: ...
    def scored(self, at: int, probability: float) -> None: ...
    def listens(self, at: int, effect: Effect) -> None: ...

    def settled(self, *, all_of_it: bool = False) -> list[r.Spoken]:
        texts, self._texts = self._texts, []
        return texts

    def sounds(self, *, all_of_it: bool = False) -> list[r.Sound]:
        if not self._sounds:
            return []
        kept, self._sounds = self._sounds, []
        sizes = [len(data) for _, data in kept]
        return [r.Sound(steps=[step for step, _ in kept], sizes=sizes, data=b"".join(d for _, d in kept))]

    def stepped(self, stepped: Stepped) -> Stepped:
        return stepped

    def item(self, made: Item) -> Item:
        return made


def _text_of(received: Input) -> str | None:
    text = getattr(received, "text", None)
    if isinstance(text, str):
        return text
    payload = getattr(received, "payload", None)
    return payload.text if isinstance(payload, Text) else None
