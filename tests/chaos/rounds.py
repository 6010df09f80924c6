"""One fault after the other into a fleet with calls on it, and after each the question whether everybody was answered again."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Final

import msgspec

from rspp.client import Patience, RouteSource, fixed
from rspp.contract.errors import RsppError
from rspp.control.authority.leases import OVER, held_of
from rspp.control.authority.members import GONE
from rspp.control.names import LEASES
from rspp.host.durable import load
from rspp.host.ports import Entry
from rspp.kernel.memory import conversation_in
from tests.chaos.callers import TRUTHFUL, Caller
from tests.chaos.fleet import Fleet


def ordinal(words: object) -> int:
    """The number in `caller 7 says 12 of 3`."""
    return int(str(words).split()[3])


FAULTS: Final = (
    "kill_worker",
    "kill_machine",
    "kill_leader",
    "cut_requests",
    "cut_answers",
    "cut_all",
)
TENANT: Final = "chaos"
SETTLE_S: Final = 45.0
SLACK_MS: Final = 2_000


class Round(msgspec.Struct, kw_only=True):
    """What was done, and what it did."""

    number: int
    fault: str
    target: str
    sessions: int  # that the target had
    moved: int = 0  # calls that came to another process
    away_ms: list[int] = []
    takeover_ms_max: int = 0  # from the fault to the last call that was back
    ended: list[str] = []
    settled_s: float = 0.0
    problems: list[str] = []


class Report(msgspec.Struct, kw_only=True):
    machines: int
    calls: int
    ttl_ms: int
    seed: int
    rounds: list[Round] = []
    turns: int = 0
    answered_before: int = (
        0  # questions said again on a new line that had their answer, and got no second one
    )
    accepted_stale_outputs: int = 0
    dropped_stale_outputs: int = 0
    double_owners: list[str] = []
    durable_state_lost: list[str] = []
    durable_turns_checked: int = 0
    untruthful_ends: list[str] = []
    problems: list[str] = []

    @property
    def passed(self) -> bool:
        return not (
            self.accepted_stale_outputs
            or self.double_owners
            or self.durable_state_lost
            or self.untruthful_ends
            or self.problems
        )


class Ledger:
    """Every owner that every session ever had, as the store says it: epochs only rise, and with each the owner changes."""

    def __init__(self) -> None:
        self.owners: dict[str, list[tuple[int, str]]] = {}
        self.problems: list[str] = []

    def take(self, entry: Entry) -> None:
        held = held_of(entry)
        lease = held.lease
        if lease.state in OVER or lease.state.value == "free":
            return
        history = self.owners.setdefault(lease.session_id, [])
        if history and history[-1] == (held.epoch, lease.owner):
            return
        if history and held.epoch <= history[-1][0]:
            self.problems.append(
                f"{lease.session_id}: {lease.owner} has epoch {held.epoch}, after {history[-1][1]} with {history[-1][0]}"
            )
        history.append((held.epoch, lease.owner))

    async def run(self, watch: AsyncIterator[Entry]) -> None:
        async for entry in watch:
            self.take(entry)


class Chaos:
    def __init__(self, fleet: Fleet, calls: int, seed: int) -> None:
        self.fleet, self.random = fleet, Random(seed)
        urls = [machine.url for machine in fleet.machines]
        patience = Patience(away_ms_max=60_000, connect_ms=3_000, most_ms=500)
        self.callers = [
            Caller(
                number,
                TENANT,
                self._routes(urls, number),
                patience,
                Random(seed * 1_000 + number),
                self._remembered,
            )
            for number in range(calls)
        ]
        self.report = Report(machines=len(urls), calls=calls, ttl_ms=fleet.ttl_ms, seed=seed)
        self.ledger = Ledger()
        self._stop = asyncio.Event()

    def _routes(self, urls: list[str], number: int) -> Callable[[], RouteSource]:
        """Each of this caller's calls begins at the same machine, if that is there."""
        token = (self.fleet.folder / "token").read_text()
        turned = urls[number % len(urls) :] + urls[: number % len(urls)]
        return lambda: fixed(*turned, token=token)

    async def run(self, faults: Iterable[str], told: Callable[[Round], None] = lambda _: None) -> Report:
        """One round for each fault."""
        tasks = [asyncio.create_task(self._follow())]
        for caller in self.callers:
            tasks.append(asyncio.create_task(caller.live(self._stop)))
            await asyncio.sleep(0.01)
        await self._all_answered(time.monotonic(), SETTLE_S)
        for number, fault in enumerate(faults, 1):
            one = await self._round(number, fault)
            self.report.rounds.append(one)
            told(one)
        await self._check_state()
        self._stop.set()
        await asyncio.wait(tasks[1:], timeout=60)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return self._total()

    async def _follow(self) -> None:
        while True:
            with suppress(RsppError):
                await self.ledger.run(self.fleet.store.watch(LEASES))
            await asyncio.sleep(0.2)

    # ---- one round -------------------------------------------------------------------------------------------------

    async def _round(self, number: int, fault: str) -> Round:
        target = self.random.randrange(len(self.fleet.machines))
        machine, network = self.fleet.machines[target], self.fleet.network
        marks = [
            (len(caller.away_ms), len(caller.moved_at), len(caller.ends), len(caller.problems))
            for caller in self.callers
        ]
        one = Round(
            number=number, fault=fault, target=machine.name, sessions=await self._sessions_of(machine.name)
        )
        began = time.monotonic()
        if fault == "kill_worker":
            machine.kill_worker()
        elif fault == "kill_machine":
            machine.kill_all()
        elif fault == "kill_leader":
            one.target = await self.fleet.cluster.leader_of(await self._stream())
            await self.fleet.cluster.kill(one.target)
        else:
            network.cut(target, fault.removeprefix("cut_"))
        if fault.startswith("cut"):
            await asyncio.sleep(2.5 * self.fleet.ttl_ms / 1000)
            network.heal(target)
        elif fault == "kill_machine":
            await asyncio.sleep(self.random.uniform(0.5, 2 * self.fleet.ttl_ms / 1000))
            machine.start()
        await self._all_answered(began, SETTLE_S, one)
        if fault == "kill_leader":
            await self.fleet.cluster.restart(one.target)
        else:
            await machine.until_ready()
        self._take_stock(one, marks, began)
        return one

    async def _stream(self) -> str:
        streams = await self.fleet.cluster.streams()
        return str(self.random.choice(sorted(stream["config"]["name"] for stream in streams)))

    async def _sessions_of(self, name: str) -> int:
        members = await self.fleet.members()
        return sum(
            seen.member.sessions
            for seen in members.seen.values()
            if seen.member.id.startswith(f"{name}-") and seen.member.state not in GONE
        )

    async def _all_answered(self, since: float, within_s: float, one: Round | None = None) -> None:
        """Everybody was answered after that moment: by whoever has the call now."""
        until = time.monotonic() + within_s
        while True:
            waiting = [caller for caller in self.callers if caller.answered_at < since]
            if not waiting:
                break
            if time.monotonic() > until:
                problem = f"not answered within {within_s:g} s: {[caller.number for caller in waiting][:20]}"
                (one.problems if one is not None else self.report.problems).append(problem)
                break
            await asyncio.sleep(0.1)
        if one is not None:
            one.settled_s = round(time.monotonic() - since, 2)

    def _take_stock(self, one: Round, marks: list[tuple[int, int, int, int]], began: float) -> None:
        for caller, (away, moved, ends, problems) in zip(self.callers, marks, strict=True):
            one.away_ms += caller.away_ms[away:]
            one.moved += len(caller.moved_at) - moved
            one.ended += caller.ends[ends:]
            one.problems += caller.problems[problems:]
            for at in caller.moved_at[moved:]:
                one.takeover_ms_max = max(one.takeover_ms_max, int((at - began) * 1000))
        one.problems += [f"ended as {end}" for end in one.ended if end not in TRUTHFUL]
        allowed_ms = self.fleet.ttl_ms + SLACK_MS
        if one.fault in ("kill_worker", "kill_machine") and one.takeover_ms_max > allowed_ms:
            one.problems.append(f"a call was back only after {one.takeover_ms_max} ms, and not {allowed_ms}")
        if one.fault == "kill_leader" and one.moved:
            one.problems.append(f"{one.moved} calls were interrupted by a lost store leader")

    async def _remembered(self, session_id: str) -> list[str]:
        """What the caller said, as the next owner of the session would know it."""
        durable = await load(self.fleet.store, TENANT, session_id)
        history = conversation_in(durable.values).get("history") if durable is not None else None
        if not isinstance(history, (list, tuple)):
            return []
        return [str(words) for role, words in history if role == "user"]

    # ---- at the end ----------------------------------------------------------------------------------------------------

    async def _check_state(self) -> None:
        """What callers were told is committed is in the store, word for word."""
        for caller in self.callers:
            caller.quiet.clear()
        await asyncio.sleep(6)
        for caller in self.callers:
            session = caller.session
            if session is None or session.ticket is None:
                continue
            kept = await self._remembered(session.ticket.session)
            first = min(map(ordinal, kept), default=0)  # a conversation forgets its oldest words
            for words in (words for words in caller.committed if ordinal(words) >= first):
                self.report.durable_turns_checked += 1
                if words not in kept:
                    self.report.durable_state_lost.append(f"{session.ticket.session}: {words!r}")
        for caller in self.callers:
            caller.quiet.set()

    def _total(self) -> Report:
        report = self.report
        report.answered_before = sum(caller.answered_before for caller in self.callers)
        report.turns = sum(caller.turns for caller in self.callers)
        report.accepted_stale_outputs = sum(caller.accepted_stale for caller in self.callers)
        report.dropped_stale_outputs = sum(caller.dropped_stale for caller in self.callers)
        report.double_owners += self.ledger.problems
        report.untruthful_ends = [
            end for caller in self.callers for end in caller.ends if end not in TRUTHFUL
        ]
        report.problems += [
            f"round {one.number}: {problem}" for one in report.rounds for problem in one.problems
        ]
        return report


def as_text(report: Report) -> str:
    """The report for a person."""
    lines = [
        f"# Chaos: {len(report.rounds)} rounds, {report.machines} machines, {report.calls} calls, seed {report.seed}",
        "",
        f"Lease TTL {report.ttl_ms} ms. {report.turns} turns were answered.",
        "",
        "| what must not be | count |",
        "| --- | --- |",
        f"| outputs of a former owner that a caller accepted | {report.accepted_stale_outputs} |",
        f"| two owners of one session, or an epoch that did not rise | {len(report.double_owners)} |",
        f"| of {report.durable_turns_checked} committed turns, not in the durable state | {len(report.durable_state_lost)} |",
        f"| calls that ended without a truthful reason | {len(report.untruthful_ends)} |",
        f"| other problems | {len(report.problems)} |",
        "",
        f"Outputs of former owners that clients refused: {report.dropped_stale_outputs}.",
        f"Questions said again on a new line, answered before, and not answered twice: {report.answered_before}.",
        "",
        "| round | fault | at | its calls | moved | away p50 ms | away max ms | back after ms | all answered s | ended |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in report.rounds:
        p50 = round(statistics.median(one.away_ms)) if one.away_ms else 0
        lines.append(
            f"| {one.number} | {one.fault} | {one.target} | {one.sessions} | {one.moved} | {p50} "
            f"| {max(one.away_ms, default=0)} | {one.takeover_ms_max} | {one.settled_s} | {', '.join(one.ended) or '-'} |"
        )
    for title, found in (
        ("Problems", report.problems),
        ("Two owners", report.double_owners),
        ("Lost state", report.durable_state_lost),
    ):
        if found:
            lines += ["", f"## {title}", "", *(f"- {problem}" for problem in found[:100])]
    return "\n".join([*lines, "", "PASSED" if report.passed else "FAILED", ""])
