"""Whoever watches a session sees what it takes and what it wants done, and changes neither.

A watcher is told beside the recorder, on the loop's thread. It must not wait. One that raises is let go of, and the session
goes on unwatched: what is measured is never worth a call.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from rspp.host.ports import Stepped
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import AudioReceived, EndOfTurnScored, Input, SpeechScored
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# The inputs of each frame. There are so many that a watcher is not told of one unless it waits for it.
FRAMES: Final = frozenset({AudioReceived, SpeechScored, EndOfTurnScored})


class Watcher(Protocol):
    """One session's."""

    @property
    def awaits(self) -> type[Input] | None:
        """The input of a frame that it wants to be told of now."""

    def took(self, at: int, received: Input) -> None:
        """This input is about to be handed in."""

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        """This is what the kernel wants done; never empty."""

    def closed(self) -> None: ...


# Makes a session's watcher as it opens; None where this session is not watched.
Watches = Callable[[OpenRequest, GraphDefinition], Watcher | None]


def made_by(
    watches: Sequence[Watches],
    request: OpenRequest,
    graph: GraphDefinition,
    blame: Callable[[str, BaseException, str], None],
) -> Iterator[Watcher]:
    """Whoever watches this session; one that cannot be made does not, and the caller is let in all the same."""
    for watch in watches:
        try:
            made = watch(request, graph)
        except Exception as error:  # noqa: BLE001 - supervised: what is told of a call is never worth it
            blame("watcher", error, request.session_id)
        else:
            if made is not None:
                yield made


class Several:
    """Several watchers as one, of which the first alone may wait for inputs of frames.

    One that raises takes the others with it, which is what a defect of ours deserves.
    """

    __slots__ = ("_first", "_watchers")

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = tuple(watchers)
        self._first = self._watchers[0]

    @property
    def awaits(self) -> type[Input] | None:
        return self._first.awaits

    def took(self, at: int, received: Input) -> None:
        for watcher in self._watchers:
            watcher.took(at, received)

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        for watcher in self._watchers:
            watcher.did(at, effects)

    def closed(self) -> None:
        for watcher in self._watchers:
            watcher.closed()


def watcher_of(watchers: Sequence[Watcher]) -> Watcher | None:
    """One for all of them; None for none."""
    if len(watchers) < 2:
        return watchers[0] if watchers else None
    return Several(watchers)


def unharmed(
    tell: Callable[[Stepped], None], broke: Callable[[BaseException], None]
) -> Callable[[Stepped], None]:
    """For inside a node's step, where what raises would be the node's failure: the first that does is the last told."""
    told: Callable[[Stepped], None] | None = tell

    def tell_on(step: Stepped) -> None:
        nonlocal told
        if told is not None:
            try:
                told(step)
            except (Exception, CancelledError) as error:  # noqa: BLE001 - supervised: it is let go of
                told = None
                broke(error)

    return tell_on


def several_steps(told: Sequence[Callable[[Stepped], None]]) -> Callable[[Stepped], None] | None:
    """One for all who want to know what sync nodes did; None for none."""
    if len(told) < 2:
        return told[0] if told else None

    def tell(step: Stepped) -> None:
        for one in told:
            one(step)

    return tell
