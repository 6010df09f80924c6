"""What the author of a custom node writes: a class with a declaration and the hooks it needs. Any class of that shape will do.

    class Shout(rspp.Node):
        declaration = rspp.NodeDeclaration(
            name="shout", version="v1", inputs={"text": (EventKind.TEXT,)}, outputs={"text": (EventKind.TEXT,)}
        )

        def on_event(self, ctx, port, event):
            ctx.emit("text", msgspec.structs.replace(event.payload, text=event.payload.text.upper()))

`Node` and `AsyncNode` only hold the settings and say which hooks there are; nothing of how a node is run is inherited.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rspp.contract.event import Event
from rspp.contract.words import CancelReason
from rspp.host.ports import LiveCall
from rspp.kernel.hosting import Context
from rspp.spec.declaration import NodeDeclaration


class Node:
    """A sync node: pure but for its context. It asks no clock, draws no chance, opens nothing and never waits.

    Hooks: `on_start` once, `on_event` for each event, `on_stop` once; between them `on_cancel` when its turn is over,
    `on_barge_in` when the caller takes the floor, `on_budget_exhausted` with what follows from it. One that raises has
    failed alone, and what then happens is `on_failure` in the spec.
    """

    declaration: ClassVar[NodeDeclaration]

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_start(self, ctx: Context) -> None: ...
    def on_event(self, ctx: Context, port: str, event: Event) -> None: ...
    def on_cancel(self, ctx: Context, reason: CancelReason) -> None: ...
    def on_barge_in(self, ctx: Context) -> None: ...
    def on_budget_exhausted(self, ctx: Context, outcome: str) -> None: ...
    def on_stop(self, ctx: Context) -> None: ...


class AsyncNode:
    """A node that waits: a coroutine for each call, whose output is recorded and so need not be repeatable."""

    declaration: ClassVar[NodeDeclaration]

    def __init__(self, config: Any) -> None:
        self.config = config

    async def run(self, call: LiveCall) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no `run`")
