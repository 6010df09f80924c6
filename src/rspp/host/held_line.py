"""A line by which nothing is told as done before it is kept: what a caller has been told is committed survives the process.

`commit` and `close` of a turn wait until the state that was saved in the same step is in the store, and every later
announcement of the session waits behind them, in order. Sound, captions and what stops sound are never held. Where
another owner has the session by then, they are not told at all: that turn is not the session's any more.

Two bounds, and one answer for both: when ITEMS_MAX announcements wait, or the first has waited for HOLD_S, all are told,
and counted in `told_unsaved`. A store that is away for so long must not make a live call deaf.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from rspp.contract.event import Event, Signal
from rspp.contract.signals import SignalName
from rspp.host.ports import Line

ITEMS_MAX: Final = 256
# Longer than a store's election of a leader takes.
HOLD_S: Final = 10.0
HELD: Final = frozenset({SignalName.COMMIT.value, SignalName.CLOSE.value})
log = logging.getLogger("rspp.host")


class HeldLine:
    """A line and what waits before it. `saved` is done when all that was saved until now is kept; `lost`: is it in vain?"""

    __slots__ = (
        "_asked",
        "_closing",
        "_deadline",
        "_done",
        "_items",
        "_line",
        "_lost",
        "_place",
        "_saved",
        "closed",
        "told_unsaved",
        "withheld",
    )

    def __init__(
        self, line: Line, saved: Callable[[], asyncio.Future[bool]], lost: Callable[[], bool]
    ) -> None:
        self._line, self._saved, self._lost = line, saved, lost
        self._items: deque[Event] = deque()  # bounded: ITEMS_MAX, in `announce`
        self._place = 0  # of the last that came, counted from 1
        self._done = 0  # of the last that may be told
        self._asked = False  # somebody will let them go
        self._deadline: asyncio.TimerHandle | None = None
        self._closing: str | None = None
        self.closed = False
        self.told_unsaved = self.withheld = 0

    # ---- what passes ---------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        self._line.send(event)

    def pause(self, turn_id: str) -> None:
        self._line.pause(turn_id)

    def resume(self, turn_id: str) -> None:
        self._line.resume(turn_id)

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self._line.stop(turn_id, keep_ms)

    # ---- what waits ----------------------------------------------------------------------------------------------

    def announce(self, event: Event) -> None:
        held = _held(event)
        if not held and not self._items:
            self._line.announce(event)
            return
        self._items.append(event)
        self._place += 1
        if len(self._items) >= ITEMS_MAX:
            self._give_up()
        elif held:
            self._ask_soon()

    def close(self, reason: str) -> None:
        """The session has ended, which is told last; or has another line, which has what waited here."""
        if self._items:
            self._closing = reason
        else:
            self._close(reason)

    def cut(self, reason: str) -> None:
        """This process may not speak for the session any more: what waits is not told, now or later."""
        self.withheld += sum(map(_held, self._items))
        self._items.clear()
        if not self.closed:
            self._close(reason)

    def take_over(self, former: HeldLine) -> None:
        """What waited before the session's former line is told on this one."""
        if former.closed:
            return
        self._items, former._items = former._items, deque(maxlen=0)
        self._place, self._done = former._place, former._done
        self.told_unsaved, self.withheld = former.told_unsaved, former.withheld
        former._stop()
        if self._items:
            self._ask_soon()

    # ---- letting go ----------------------------------------------------------------------------------------------

    def _ask_soon(self) -> None:
        """Not from within: what belongs to this announcement is saved later in the same step."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            self._asked = True
            loop.call_soon(self._ask)
        if self._deadline is None:
            self._deadline = loop.call_later(HOLD_S, self._give_up)

    def _ask(self) -> None:
        place = self._place
        saved = self._saved()
        if saved.done():
            self._kept(place, saved)
        else:
            saved.add_done_callback(lambda saved: self._kept(place, saved))

    def _kept(self, place: int, saved: asyncio.Future[bool]) -> None:
        self._asked = False
        if saved.cancelled() or not self._items:
            return
        self._done = max(self._done, place)
        self._let_go(kept=saved.result())
        if any(map(_held, self._items)):
            self._stop_clock()  # the store answers: what waits now has not waited for long
            self._ask_soon()

    def _let_go(self, *, kept: bool) -> None:
        """Tell what may be told, and after it what waits for nothing but its turn."""
        lost = not kept and self._lost()
        while self._items:
            place = self._place - len(self._items) + 1
            held = _held(self._items[0])
            if held and place > self._done:
                break
            event = self._items.popleft()
            if held and lost:
                self.withheld += 1
                continue
            self.told_unsaved += held and not kept
            self._tell(event)
        if not self._items:
            self._stop_clock()
            if self._closing is not None:
                self._close(self._closing)

    def _give_up(self) -> None:
        self._deadline = None
        self._done = self._place
        self._let_go(kept=False)

    def _tell(self, event: Event) -> None:
        try:
            self._line.announce(event)
        except Exception:
            # Supervised: no session stands around this call that would do it, so the line is cut here.
            log.exception("a line failed")
            self._items.clear()
            self._closing = self._closing or "runtime_internal_error"

    def _close(self, reason: str) -> None:
        self._stop()
        self._line.close(reason)

    def _stop(self) -> None:
        self.closed = True
        self._closing = None
        self._stop_clock()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _held(event: Event) -> bool:
    return isinstance(event.payload, Signal) and event.payload.signal in HELD
