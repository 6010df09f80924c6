"""Many calls and few processes, then few calls and many processes: an autoscaler follows the metrics, a router the members."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.client import Call, Client, ConnectionLost
from rspp.control.fleet.routing import Chosen
from tests.deploy.scaler import Scaler
from tests.deploy.test_manifests import find
from tests.e2e.serving import Serving, route, serving
from tests.e2e.test_listen import SPEC
from tools.validate_deploy import faults_of, rendered

CALLS = 60
CAPACITY = 40
HURRY = 150.0  # the manifest's five minutes are two seconds here


class Pods:
    """The processes that an autoscaler would have pods for, each a whole `rspp serve`."""

    def __init__(self, spec: Path, data: Path, store: SqliteStore, scaler: Scaler) -> None:
        self.spec, self.data, self.store, self.scaler = spec, data, store, scaler
        self.running: list[tuple[Serving, AsyncExitStack]] = []
        self.made = 0
        self.cpu: dict[str, tuple[float, float]] = {}

    async def add(self) -> None:
        stack = AsyncExitStack()
        self.made += 1
        pod = await stack.enter_async_context(
            serving(
                self.spec,
                self.data / f"pod-{self.made}",
                *("--store", f"sqlite:///{self.data / 'shared.db'}", "--sessions-max", str(CAPACITY)),
                *("--on-stop", "migrate", "--drain-ms", "5000", "--name", f"pod-{self.made}"),
            )
        )
        self.running.append((pod, stack))

    async def remove(self) -> Serving:
        """The newest, as a StatefulSet does; SIGTERM, and its exit status is good."""
        pod, stack = self.running.pop()
        pod.tell(signal.SIGTERM)
        assert await pod.over() == 0, pod.said
        await stack.aclose()
        return pod

    async def figures(self) -> list[dict[str, float]]:
        """What each pod's /metrics says, and what its CPU time comes to."""
        return [await self._figures(pod) for pod, _ in self.running]

    async def _figures(self, pod: Serving) -> dict[str, float]:
        found: dict[str, float] = {}
        cpu = 0.0
        for line in (await pod.get("/metrics")).text.splitlines():
            name, _, value = line.rpartition(" ")
            if name in self.scaler.targets:
                found[name] = float(value)
            elif name.startswith("rspp_worker_cpu_seconds_total"):
                cpu += float(value)
        now = time.monotonic()
        since, before = self.cpu.setdefault(pod.admin, (now, cpu))
        if now > since:
            found["cpu"] = (cpu - before) / (now - since)  # on average, since it was first looked at
        return found

    async def scale(self) -> int:
        """One round of the autoscaler; how many pods there are then."""
        wanted = self.scaler.replicas(time.monotonic(), await self.figures())
        if wanted > len(self.running):
            await asyncio.gather(*(self.add() for _ in range(wanted - len(self.running))))
        while wanted < len(self.running):
            await self.remove()
        return len(self.running)

    async def call(self, stack: AsyncExitStack, number: int) -> tuple[str, Call]:
        """A session where the router says; who is refused there is sent elsewhere."""
        avoid: frozenset[str] = frozenset()
        while True:
            chosen = await route(self.store, f"call-{number}", avoid)
            assert isinstance(chosen, Chosen), chosen
            try:
                call = await stack.enter_async_context(Client.connect(chosen.place.endpoint, tenant="t"))
            except ConnectionLost as error:
                if error.retry_after_ms is None:
                    raise
                avoid |= {chosen.place.id}
            else:
                return chosen.place.id.rpartition("-w")[0], call


def manifest() -> dict[str, Any]:
    """The autoscaler of the chart. How late a loop is says more of a busy test machine than of the load here."""
    objects = rendered({"autoscaling": {"loopLagTarget": "0", "minReplicas": 2}})
    assert faults_of(objects) == []
    hpa = find(objects, "HorizontalPodAutoscaler", "rspp-workers")
    broken = {**hpa, "spec": {**hpa["spec"], "maxReplicas": "many"}}
    assert faults_of([*(one for one in objects if one is not hpa), broken])
    return hpa


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.proves("F-103")
def test_processes_come_with_the_load_and_go_after_it_and_new_calls_start_all_the_while(
    tmp_path: Path,
) -> None:
    spec = tmp_path / "desk.yaml"
    spec.write_text(SPEC)
    scaler = Scaler(manifest(), hurry=HURRY)
    scaler.targets.pop("cpu")  # two processes that start on two cores are busy with that

    async def main() -> None:
        store = SqliteStore(tmp_path / "shared.db")
        pods = Pods(spec, tmp_path, store, scaler)
        stack = AsyncExitStack()
        try:
            await asyncio.gather(pods.add(), pods.add())
            assert await pods.scale() == 2
            idle = await pods.figures()
            calls = [await pods.call(stack, number) for number in range(CALLS)]
            spread = Counter(name for name, _ in calls)
            assert len(spread) == 2
            assert min(spread.values()) >= CALLS // 4
            async with asyncio.timeout(10):
                while (busy := await pods.figures()) and sum(one["rspp_load"] for one in busy) < 2 * 0.74:  # noqa: ASYNC110 - another process does not wake this one
                    await asyncio.sleep(0.05)
            assert all(
                after["rspp_load"] > before["rspp_load"] + 0.3
                for before, after in zip(idle, busy, strict=True)
            )
            assert all(after["cpu"] > 0 for after in busy)
            assert scaler.replicas(time.monotonic(), [{} for _ in busy]) == 2  # nothing known, nothing done
            assert await pods.scale() == 3
            later = [await pods.call(stack, CALLS + number) for number in range(6)]
            assert "pod-3" in {name for name, _ in later}
            for _, call in calls:
                await call.hang_up()
            async with asyncio.timeout(15):
                while await pods.scale() > 2:  # noqa: ASYNC110 - another process does not wake this one
                    await asyncio.sleep(0.1)
            assert [pod.process.returncode for pod, _ in pods.running] == [None, None]
            # Who was on the process that went is told to come back, and its session goes on at another.
            for call in [call for name, call in later if name == "pod-3"]:
                with contextlib.suppress(ConnectionLost):
                    await call.signal("close", 5)
                again = await back(pods, stack, call)
                assert again.welcome.session == call.welcome.session
                assert again.epoch > call.welcome.epoch
            name, _ = await pods.call(stack, 1_000)
            assert name in ("pod-1", "pod-2")
        finally:
            with contextlib.suppress(ConnectionLost):
                await stack.aclose()
            for _, pod in pods.running:
                await pod.aclose()
            await store.close()

    asyncio.run(main())


async def back(pods: Pods, stack: AsyncExitStack, call: Call) -> Call:
    """The same session by its ticket, where the router sends it now."""
    async with asyncio.timeout(10):
        while True:
            chosen = await route(pods.store, call.welcome.session)
            assert isinstance(chosen, Chosen)
            try:
                return await stack.enter_async_context(
                    Client.connect(chosen.place.endpoint, tenant="t", ticket=call.ticket)
                )
            except ConnectionLost as error:
                await asyncio.sleep((error.retry_after_ms or 50) / 1000)
