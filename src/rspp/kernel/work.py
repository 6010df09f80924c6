"""Provider calls and async nodes in a session: asked for, fed, watched, retried, cancelled, accounted for.

The machine of one call is in `calls`; its beginning in `dispatch`, what it gives in `results`, its failures in
`recovery`, its end by force in `cancelling`, the list of all in `call_book`. A turn's calls end with their turn. Keeps
INV-09's provider half.
"""

from __future__ import annotations

from rspp.kernel.admission import Admission
from rspp.kernel.call_book import CallBook, Owner
from rspp.kernel.cancelling import Cancelling
from rspp.kernel.desk import Desk
from rspp.kernel.dispatch import Dispatch
from rspp.kernel.effects import EndFeed, Throttle
from rspp.kernel.graph import Graph, NodeRun
from rspp.kernel.recovery import Recovery
from rspp.kernel.results import Results
from rspp.kernel.spending import Spending


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
        node.throttles += 1 if on else -1
        node.throttles = max(0, node.throttles)
        call = self.book.current.get(node.id)
        if call is None or not call.live or call.throttled == (node.throttles > 0):
            return
        call.throttled = node.throttles > 0
        call.progress_at = self._desk.now
        self._desk.do(Throttle(call.id, call.throttled))

    def finalise(self) -> None:
        """Ask the recognisers for their finals."""
        for call in self.book.current.values():
            if call.modality == "stt" and call.live:
                self._desk.outbox.work(EndFeed(call.id, last=False))
