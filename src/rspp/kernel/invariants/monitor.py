"""Feeds every input and effect to the checkers that care for it, cheaply enough to be left on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from rspp.contract.event import Event, Signal
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.invariants.flow import FlowChecks, IdentityChecks, LevelChecks, OrderChecks
from rspp.kernel.invariants.lifecycle import LifecycleChecks
from rspp.kernel.invariants.output import OutputChecks
from rspp.kernel.invariants.view import View, Violation
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# How often the waits are looked at: often enough to be exact, seldom enough to be cheap.
WATCH_EVERY_NS: Final = 100_000_000
ASLEEP_NS: Final = 1_000_000_000


Handler = Callable[..., None]


class Monitor:
    """One session's onlooker."""

    def __init__(self, graph: GraphDefinition, request: OpenRequest) -> None:
        self.view = view = View(graph, request)
        self._order = OrderChecks(view)
        self._identity = IdentityChecks(view)
        self._flow = FlowChecks(view)
        self._output = OutputChecks(view)
        self._lifecycle = LifecycleChecks(view)
        self._output.causes = self._lifecycle.cause
        families = (self._output, self._flow, self._lifecycle, self._identity, LevelChecks(view))
        self._inputs = _table(family.on_input for family in families)
        self._effects = _table(family.on_effect for family in families)
        self._signals: dict[str, tuple[Handler, ...]] = {}
        for family in families:
            for name, handler in family.on_signal.items():
                self._signals[name] = (*self._signals.get(name, ()), handler)
        self._watch_at = view.now
        self._pending = False
        self._expired = False

    @property
    def violations(self) -> list[Violation]:
        return self.view.violations

    def saw_input(self, now: int, received: i.Input) -> None:
        """An input is about to be handed in; what came before it is complete."""
        view = self.view
        if self._pending:
            self._batch_over()
        # A kernel that nobody woke for so long cannot have kept a deadline: that is its host's fault.
        asleep = now - view.now > ASLEEP_NS
        if now > view.now:
            view.now = now
        if now >= self._watch_at and not asleep:
            self._watch_at = now + WATCH_EVERY_NS
            self._watch()
        for handler in self._inputs.get(type(received), ()):
            handler(received)

    def saw_effect(self, now: int, effect: fx.Effect) -> None:
        """An effect has come out."""
        self._order.saw(effect)
        self._pending = True
        if type(effect) is fx.Announce:
            self._announced(effect.event)
            return
        for handler in self._effects.get(type(effect), ()):
            handler(effect)
        if type(effect) is fx.EndSession:
            self.view.ended = True

    def _announced(self, event: Event) -> None:
        signal = event.payload
        if not isinstance(signal, Signal):
            self.view.blame("INV-16", "announces_signals", "something was announced that is not a signal")
            return
        self._identity.announced(event, signal)
        for handler in self._signals.get(signal.signal, ()):
            handler(event, signal)

    def _batch_over(self) -> None:
        self._pending = False
        self._order.new_batch()
        self._identity.new_batch()
        self._output.batch_over()
        self._flow.batch_over()

    def _watch(self) -> None:
        view = self.view
        if not self._expired and not view.revoked and view.now >= view.expires_at:
            self._expired = True
            self._lifecycle.cause("expired")
        elif self._expired and view.now < view.expires_at:
            self._expired = False
        self._output.watch()
        self._flow.watch()
        self._lifecycle.watch()

    def finish(self, now: int) -> None:
        """The run is over: judge what must have happened by now."""
        self.view.now = max(self.view.now, now)
        if self._pending:
            self._batch_over()
        if self.view.ended:
            self._lifecycle.finish()


def _table(maps: Iterable[Mapping[type, Handler]]) -> dict[type, tuple[Handler, ...]]:
    table: dict[type, tuple[Handler, ...]] = {}
    for handlers in maps:
        for kind, handler in handlers.items():
            table[kind] = (*table.get(kind, ()), handler)
    return table
