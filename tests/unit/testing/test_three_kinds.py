"""External nodes, providers and transports are certified by category: none may be left out, and what breaks fails its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from rspp.contract.event import Text
from rspp.host.ports import LiveCall
from rspp.testing import scripted
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import Check, async_node, provider, report_of, run_suite, transport
from rspp.testing.conformance.profiles import certify, mandatory_of
from tests.unit.testing.pipe import Pipe, Wire

pytestmark = pytest.mark.slow  # whole suites


class Lookup:
    """An external node that keeps its word."""

    async def run(self, call: LiveCall) -> None:
        for number in range(20):
            await asyncio.sleep(0.02)
            if call.stopping:
                return
            await call.produce(Text(f"part {number} ", segment=number, final=True))


class Swallows(Lookup):
    """Takes a cancel for a pause."""

    async def run(self, call: LiveCall) -> None:
        for number in range(20):
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
            await call.produce(Text(f"part {number} ", segment=number, final=True))


class Drops(Pipe):
    """Loses each third frame of a caller."""

    def took(self, wire: Wire, frame: bytes) -> None:
        wire.words += 1
        if wire.words % 3:
            super().took(wire, frame)


def piped(kind: type[Pipe]) -> transport.TransportTarget:
    made = kind()
    return transport.TransportTarget(transport=made, connect=made.connect)


Checks = Callable[[], list[Check]]
# The kind's port, one that keeps its word, one that breaks it, and the category in which it does.
KINDS: dict[str, tuple[Checks, Checks, str]] = {
    "async_node": (
        lambda: async_node.conformance(Lookup),
        lambda: async_node.conformance(Swallows),
        "cancellation",
    ),
    "provider.tts": (
        lambda: provider.conformance(lambda: scripted.make("scripted-tts")),
        lambda: provider.conformance(lambda: scripted.make("scripted-tts", faults={"kill": "ignore"})),
        "cancellation",
    ),
    "transport": (
        lambda: transport.conformance(lambda: piped(Pipe)),
        lambda: transport.conformance(lambda: piped(Drops)),
        "ingress",
    ),
}


@pytest.mark.proves("F-164")
@pytest.mark.parametrize("port", KINDS)
def test_each_kind_has_a_verdict_by_category_and_none_may_be_left_out_or_broken(port: str) -> None:
    sound, broken, category = KINDS[port]
    report = run_suite(sound(), port, run_virtual)
    whole = certify(report, port)
    assert whole.certified, whole.verdicts
    assert set(mandatory_of(port)) <= set(whole.verdicts)
    assert set(whole.verdicts.values()) == {"passed"}

    spoiled = certify(run_suite(broken(), port, run_virtual), port)
    assert not spoiled.certified
    assert [name for name, verdict in spoiled.verdicts.items() if verdict == "failed"] == [category]

    for name in mandatory_of(port):
        # What a suite would report that leaves this category out.
        rest = report_of(port, tuple(one for one in report.results if one.category != name))
        partial = certify(rest, port)
        assert not partial.certified
        assert partial.verdicts[name] == "omitted"
