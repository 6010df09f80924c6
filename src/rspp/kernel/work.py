"""Provider calls and async nodes in a session: asked for, fed, watched, retried, cancelled, accounted for.

The machine of one call is in `calls`; its beginning in `dispatch`, what it gives in `results`, its failures in
`recovery`, its end by force in `cancelling`, the list of all in `call_book`. A turn's calls end with their turn. Keeps
INV-09's provider half.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS
from rspp.kernel.admission import Admission
from rspp.kernel.call_book import CallBook, Owner
from rspp.kernel.calls import CallState
from rspp.kernel.cancelling import Cancelling
from rspp.kernel.desk import Desk
from rspp.kernel.dispatch import Dispatch
from rspp.kernel.effects import EndFeed, Throttle
from rspp.kernel.graph import Graph, NodeRun
from rspp.kernel.recovery import Recovery
from rspp.kernel.results import Results
from rspp.kernel.spending import Spending
from rspp.spec.graph import Lifetime

# One finalise may go unanswered: there may have been no words. After two in a row something is owed.
UNANSWERED_MAX: Final = 2


class Work:
    """All that one session does with its calls."""

    def __init__(self, desk: Desk, admission: Admission, owner: Owner) -> None:
        self._desk = desk
        spending = Spending(desk)
        self.book = CallBook(desk, admission, owner)
        self.dispatch = Dispatch(desk, self.book, spending)
        self.cancelling = Cancelling(desk, self.book)
        self.recovery = Recovery(desk, self.book, self.dispatch, self.cancelling)
        self.results = Results(desk, self.book, self.recovery, self.cancelling, spending)

    def attach(self, graph: Graph) -> None:
        self.book.graph = graph

    def throttle(self, node: NodeRun, on: bool) -> None:
        """An edge below a call is full (or has room again): tell the call once, however many edges say so."""
        node.throttles = max(0, node.throttles + (1 if on else -1))
        full = node.throttles > 0
        call = self.book.current.get(node.id)
        if call is not None and call.live and call.throttled != full:
            call.throttled = full
            call.progress_at = self._desk.now
            self._desk.do(Throttle(call.id, full))
        if node.turn_scoped and node.definition.lifetime is Lifetime.EVENT:
            # The next event's call would fill the edge as this one did: it waits for room as well.
            if full:
                node.open = False
            else:
                self.book.go_on(node)

    def finalise(self) -> None:
        """Ask the recognisers for their finals; one that leaves two in a row unanswered is hung, not listening."""
        desk = self._desk
        for call in self.book.current.values():
            if call.modality != "stt" or not call.live:
                continue
            desk.outbox.work(EndFeed(call.id, last=False))
            self.book.metering.asked(call)
            if call.state is CallState.STREAMING:
                call.owed += 1
                if call.owed == UNANSWERED_MAX:
                    call.progress_at = desk.now
                    desk.arm("call", desk.now + self.book.policy.progress_ms_max * NS_PER_MS, call.id)
