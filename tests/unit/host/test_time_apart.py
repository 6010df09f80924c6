"""What the kernel takes and what its nodes take are measured apart, to the microsecond, by a clock that the test winds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.host.host import HostSettings
from rspp.host.meters import Summary
from rspp.host.overhead import Overhead
from rspp.host.watchdog import Metered
from rspp.nodes import factories
from tests.unit.host.stage import Caller, Stage, on_stage, registry_of


async def turns(caller: Caller, count: int) -> None:
    for number in range(count):
        await caller.speak()
        for _ in range(600):
            if len(caller.signals("close")) > number:
                break
            await caller.frames(20)


class Ticks:
    """The clock by which steps are timed: it goes on by a microsecond with each look, and as far as somebody takes its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000_000
        monkeypatch.setattr("rspp.host.session.now_ns", self)
        defaults = Metered.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "now", self)

    def __call__(self) -> int:
        self.now_ns += 1_000
        return self.now_ns

    def pass_us(self, us: int) -> None:
        self.now_ns += us * 1_000


def sleeper(ticks: Ticks, us: int) -> type:
    """A node that takes a known time for each event."""

    class Sleeper:
        def __init__(self, config: Any) -> None:
            self.inner = factories()["segmenter"](config)

        def on_event(self, ctx: Any, port: str, event: Any) -> None:
            ticks.pass_us(us)
            self.inner.on_event(ctx, port, event)

    return Sleeper


def every_step_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """That none of those with the node in it is missed."""
    took = Overhead.took

    def timed(self: Overhead, now: int, elapsed_ns: int) -> None:
        took(self, now, elapsed_ns)
        self.left = 1

    monkeypatch.setattr(Overhead, "took", timed)


def kernels_and_nodes(stage: Stage) -> tuple[Summary, Summary]:
    """What the kernel took, and what the one sync node took."""
    stage.host.overhead.close()
    found = stage.host.meters.read().histograms
    (kernel,) = [one.summary for one in found if one.name == "kernel_step_ns"]
    (node,) = [
        one.summary for one in found if one.name == "node_latency_ms" and ("node", "segmenter") in one.labels
    ]
    assert kernel.count > 200
    assert node.count >= 2
    return kernel, node


@pytest.mark.proves("F-052")
def test_what_a_node_takes_is_the_nodes_and_the_kernels_time_is_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(us: int) -> tuple[Summary, Summary]:
        told: list[tuple[Summary, Summary]] = []

        async def scene(stage: Stage) -> None:
            stage.host.overhead.left = 1
            await turns(stage.call(), 2)
            told.append(kernels_and_nodes(stage))

        nodes = {**factories(), "segmenter": sleeper(Ticks(monkeypatch), us)}
        on_stage(scene, registry=msgspec.structs.replace(registry_of(), nodes=nodes))
        return told[0]

    every_step_timed(monkeypatch)
    (kernel, node), (same, longer) = measured(4_000), measured(40_000)
    for summary, us in ((node, 4_000), (longer, 40_000)):
        assert summary.p50 is not None
        assert summary.largest is not None
        assert us * 1_000 < summary.p50 <= summary.largest <= (us + 2) * 1_000
        assert summary.total == summary.count * (us + 1) * 1_000
    # Of the sleeps the kernel has nothing, however long they are.
    assert kernel == same
    assert kernel.largest is not None
    assert kernel.largest < 100_000


@pytest.mark.proves("F-052")
def test_a_delayed_dispatcher_raises_only_the_kernels_metric_and_the_alert(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(late_us: int) -> tuple[Summary, Summary, set[str]]:
        told: list[tuple[Summary, Summary, set[str]]] = []
        ticks = Ticks(monkeypatch)

        async def scene(stage: Stage) -> None:
            caller = stage.call()
            assert caller.seat is not None
            kernel = caller.seat.kernel
            receive = kernel.receive

            def late(now: int, received: Any) -> None:
                ticks.pass_us(late_us)  # the dispatcher does something else
                receive(now, received)

            kernel.receive = late  # type: ignore[method-assign]
            stage.host.overhead.left = 1
            await turns(caller, 2)
            told.append((*kernels_and_nodes(stage), {alert.name for alert in stage.host.overhead.alerts}))

        on_stage(scene, settings=HostSettings(kernel_us_max=100.0, kernel_us_p95_max=400.0))
        return told[0]

    every_step_timed(monkeypatch)
    (usual, node, none), (raised, same, alerts) = measured(0), measured(800)
    assert none == set()
    assert alerts == {"kernel_overhead_above_budget"}
    assert usual.p50 is not None
    assert raised.p50 is not None
    assert usual.p50 < 100_000
    assert 800_000 < raised.p50 < 900_000
    assert same == node
