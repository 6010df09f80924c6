"""What every async node must do: what any provider of one node type must, and keep to its ports.

    checks = async_node.conformance(lambda: Lookup({"table": "prices"}), Trial(modality="external", said=Text("tea")))

`make` gives a fresh node, as each session's node is. A node that lives as long as its session is tried with `fed=True`, and
with what it is to be fed as `speech` and `silence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rspp.host.ports import AsyncNode, LiveCall, ProviderInfo
from rspp.testing.conformance import provider
from rspp.testing.conformance import provider_output as output
from rspp.testing.conformance.checks import Check, NotApplicableError, require
from rspp.testing.conformance.trial import Trial, usual

MakeNode = Callable[[], AsyncNode]


def conformance(make: MakeNode, trial: Trial | None = None) -> list[Check]:
    """The suite; without a trial the node is given a question, and must answer with text or audio."""
    bench = provider.Bench(lambda: _AsProvider(make), trial or usual("external"))
    bodies = [*provider.OUTCOME, *output.CHECKS, *provider.CANCELLATION, *provider.ISOLATION, *NODE]
    bodies += provider.LISTENING if bench.trial.listens else provider.SPEAKING
    lifecycle = [row for row in provider.LIFECYCLE if row[2] is not provider.opens_and_closes]
    return provider.checks_of([*lifecycle, *bodies], bench)


class _AsProvider:
    """A provider whose calls each have a node of their own."""

    def __init__(self, make: MakeNode) -> None:
        self.info = ProviderInfo(name="node", modality="external", version="v1")
        self._make = make

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        await self._make().run(call)


async def _keeps_to_ports(bench: provider.Bench) -> None:
    if not bench.trial.ports:
        raise NotApplicableError("the trial names no ports")
    async with bench.attempt() as attempt:
        heard = await bench.whole(attempt)
        strange = sorted(heard.ports - set(bench.trial.ports))
        require(not strange, f"it gave on {', '.join(strange)}; its ports are {', '.join(bench.trial.ports)}")


NODE: Final[list[provider.Row]] = [("output", "keeps to its ports", _keeps_to_ports)]
