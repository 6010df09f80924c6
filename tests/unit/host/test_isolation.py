"""A sync node in a process of its own works as inside, and whatever it does there harms its own call alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from rspp.contract.event import Audio, Event, Note, Sample, Scope, Text
from rspp.contract.words import CancelMode, CancelReason, EventKind, OutcomeClass, PayloadClass
from rspp.host.isolation import Isolated, Isolation, Limits, reference_of
from rspp.host.ports import CallRequest, ProviderError
from rspp.kernel.hosting import SyncNode
from rspp.nodes import factories
from rspp.spec import compile_text
from rspp.spec.graph import NodeDefinition, Port, Role

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

NODES = """
import os, sys, time
from rspp import Text, Sample

class Any:
    def __init__(self, config):
        self.seen = []
    def on_event(self, ctx, port, event):
        word = event.payload.text
        self.seen.append(word)
        print("what a node prints goes nowhere")
        if word in ("hang", "sleep", "poll"): open(sys.path[0] + "/at-work", "w").close()
        if word == "raise": raise ValueError("not repeated")
        if word == "exit": sys.exit(3)
        if word == "die": os._exit(3)
        if word == "crash": os.abort()
        if word == "hang":
            while True: pass
        if word == "sleep": time.sleep(60)
        if word == "eat":
            held = []
            while True: held.append(bytearray(1 << 20))
        if word == "measure":
            held = []
            try:
                while True: held.append(bytearray(1 << 20))
            except MemoryError:
                del held
            peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmPeak")]
            ctx.emit("out", Text(peak[0]))
            return
        if word == "flood": ctx.emit("out", Text("x" * (6 << 20)))
        if word == "wrong port": ctx.emit("nowhere", Text("x"))
        if word == "wrong payload": ctx.emit("out", 17)
        if word == "garbage": os.write(int(sorted(os.listdir("/proc/self/fd"), key=int)[4]), b"\\xff" * 64)
        if word == "no text":
            body = b"\\x81\\xa4type\\xa2\\xff\\xfe"
            os.write(int(sorted(os.listdir("/proc/self/fd"), key=int)[4]), len(body).to_bytes(4, "big") + body)
        if word == "fork" and os.fork() == 0: time.sleep(60)
        if word == "poll":
            while not ctx.cancelled: time.sleep(0.001)
            ctx.emit("out", Text("said after the cancel"))
        if word == "many":
            for number in range(30): ctx.emit("out", Text(str(number)))
        if word == "environment": ctx.emit("out", Text(" ".join(sorted(os.environ))))
        if word == "token": ctx.emit("out", Text(str(event.scope.lease_token)))
        ctx.metric("seen", len(self.seen))
        ctx.emit("out", Text(",".join(self.seen), segment=os.getpid()))
    def on_cancel(self, ctx, reason):
        self.seen.append("cancelled")

class Hanging(Any):
    def on_start(self, ctx):
        while True: pass

class Unmakeable(Any):
    def __init__(self, config):
        raise RuntimeError("no")

class Polite(Any):
    def on_stop(self, ctx):
        open(sys.path[0] + "/stopped", "w").write("yes")
"""


class Named:
    """A factory that is known by where its class is."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def __call__(self, config: Mapping[str, object]) -> SyncNode:
        raise AssertionError("the node is made in its own process only")


class Ear:
    """An answer that writes down what it hears."""

    def __init__(self) -> None:
        self.throttled = False
        self.given: list[tuple[str | None, object]] = []
        self.ends: list[str] = []
        self.error: ProviderError | None = None
        self.over = asyncio.Event()

    def accepted(self) -> None: ...
    def score(self, probability: float) -> None: ...
    def produce(self, payload: Audio | Text | Sample | Note, port: str | None = None) -> None:
        assert not self.ends, "nothing comes after the end"
        self.given.append((port, payload))

    def finish(self, tokens: int = 0) -> None:
        self._end("finished")

    def fail(self, error: ProviderError) -> None:
        self.error = error
        self._end("failed")

    def stopped(self) -> None:
        self._end("stopped")

    def _end(self, how: str) -> None:
        self.ends.append(how)
        self.over.set()

    async def outcome(self) -> str:
        await asyncio.wait_for(self.over.wait(), 20)
        return self.ends[0] if self.error is None else self.error.reason

    @property
    def texts(self) -> list[str]:
        return [payload.text for _, payload in self.given if isinstance(payload, Text)]


class Bench:
    """An open isolation and one way to ask it."""

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self.number = 0

    def ask(
        self, word: str, kind: str = "Any", session: str = "s", *, event: bool = True, **limits: int
    ) -> tuple[Ear, Any]:
        self.number += 1
        node = NodeDefinition(
            id=f"node-{kind}",
            type=kind,
            version="v1",
            role=Role.SYNC,
            scope="turn",
            inputs=(Port(name="in", kinds=(EventKind.TEXT,)),),
            outputs=(Port(name="out", kinds=(EventKind.TEXT,)),),
        )
        request = CallRequest(
            call_id=f"call-{session}-{self.number}",
            attempt=1,
            node_id=node.id,
            modality="isolated",
            provider="isolated",
            idempotency_key="k",
            epoch=1,
            deadline_at=None,
            event=self.event(word, session) if event else None,
            config=msgspec.to_builtins(Isolated(node, Limits(**limits))),
        )
        ear = Ear()
        return ear, self.isolation.begin(request, ear)

    def event(self, word: str, session: str = "s") -> Event:
        scope = Scope(
            session_id=session,
            tenant_id="t",
            pipeline_version="v",
            epoch=1,
            turn_id="t1",
            lease_token="the-lease",
        )
        return Event(scope, EventKind.TEXT, self.number, 0, Text(word), PayloadClass.TEXT_RAW)

    async def outcome(self, word: str, kind: str = "Any", session: str = "s", **limits: Any) -> str:
        return await self.ask(word, kind, session, **limits)[0].outcome()

    async def says(self, word: str, session: str = "s") -> str:
        ear, _ = self.ask(word, session=session)
        assert await ear.outcome() == "finished"
        return ear.texts[-1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a test's coroutine with an open isolation; afterwards nothing of it may be left."""
    (tmp_path / "hostile_nodes.py").write_text(NODES)
    monkeypatch.setenv("LLM_KEY", "a secret")

    def go(
        main: Callable[[Bench], Awaitable[None]],
        runner: Callable[..., Any] = asyncio.run,
        **options: Any,
    ) -> None:
        async def around() -> None:
            kinds = {
                name: Named(f"hostile_nodes:{name}") for name in ("Any", "Hanging", "Unmakeable", "Polite")
            }
            isolation = Isolation(kinds, search_path=[tmp_path], **options)
            await isolation.open()
            try:
                await main(Bench(isolation))
            finally:
                await isolation.close()
            assert isolation.processes == set()

        runner(asyncio.sleep(0))  # a loop may open something for the process at its first use
        before, others = open_files(), children()
        runner(around())
        assert open_files() == before, "no pipe is left open"
        assert children() <= others, "no child is left, dead or alive"

    return go


def children() -> set[str]:
    """The processes that this one has begun and not seen the end of; another test's helpers may be among them."""
    mine = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                mine.add(stat.parent.name)
    return mine


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_node_keeps_its_state_between_events_and_its_outputs_come_back_by_port_in_order(
    run: Any, runner: Any
) -> None:
    async def main(bench: Bench) -> None:
        first, second = bench.ask("one")[0], bench.ask("two")[0]
        assert await second.outcome() == "finished"
        assert first.ends == ["finished"]
        assert (first.texts, second.texts) == (["one"], ["one,two"])
        assert first.given[0] == (None, Sample("seen", 1.0))
        assert first.given[1][0] == "out"

    run(main, runner)


def test_sessions_have_processes_of_their_own(run: Any) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.says("mine") == "mine"
        assert await bench.says("yours", "other") == "yours"

    run(main)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("raise", "isolated_node_raised"),
        ("exit", "isolated_node_raised"),
        ("wrong port", "isolated_node_raised"),
        ("wrong payload", "isolated_node_raised"),
        ("flood", "isolated_node_raised"),
        ("die", "isolated_node_died"),
        ("crash", "isolated_node_died"),
        ("garbage", "isolated_output_broken"),
        ("no text", "isolated_output_broken"),
    ],
)
def test_what_a_node_does_wrong_fails_its_call_and_the_next_event_is_served(
    run: Any, word: str, reason: str
) -> None:
    async def main(bench: Bench) -> None:
        neighbour = bench.ask("beside", session="other")[0]
        ear = bench.ask(word)[0]
        assert await ear.outcome() == reason
        assert ear.error is not None
        assert ear.error.outcome is OutcomeClass.INFRASTRUCTURE_FAILURE
        assert "not repeated" not in str(ear.error)
        assert (await bench.says("after")).endswith("after")
        assert await neighbour.outcome() == "finished"

    run(main)


@pytest.mark.proves("F-107")
def test_memory_and_processor_time_are_bounded_and_a_violation_is_counted(run: Any) -> None:
    async def main(bench: Bench) -> None:
        eater = bench.ask("eat", memory_mb=160)[0]
        assert await eater.outcome() == "isolated_memory_limit"
        assert eater.given == [(None, Sample("isolated_memory_limit", 1.0))]
        assert await bench.says("after") == "after"
        spinner = bench.ask("hang", session="other", cpu_ms=100)[0]
        assert await spinner.outcome() == "isolated_cpu_limit"
        assert spinner.given == [(None, Sample("isolated_cpu_limit", 1.0))]
        measured = bench.ask("measure", session="fourth", memory_mb=160)[0]
        assert await measured.outcome() == "finished"
        assert int(measured.texts[0]) <= 160 * 1024, "kB, at its highest"
        small = bench.ask("small", session="third", memory_mb=160, cpu_ms=100)[0]
        assert await small.outcome() == "finished"
        assert not [p for _, p in small.given if isinstance(p, Sample) and "limit" in p.name]

    run(main)


def test_a_cancel_reaches_a_node_at_work_which_stops_once_and_says_nothing_more(
    run: Any, tmp_path: Path
) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.says("before") == "before"
        ear, call = bench.ask("poll")
        await until((tmp_path / "at-work").exists)
        call.cancel(CancelReason.BARGE_IN, CancelMode.HARD)
        call.cancel(CancelReason.BARGE_IN, CancelMode.HARD)
        assert await ear.outcome() == "stopped"
        assert ear.given == []
        assert (await bench.says("after")).endswith("cancelled,after")
        assert ear.ends == ["stopped"]

    run(main)


@pytest.mark.parametrize("word", ["hang", "sleep"])
def test_a_node_that_ignores_its_cancel_is_killed_and_what_waited_behind_it_is_done_by_a_fresh_one(
    run: Any, word: str, tmp_path: Path
) -> None:
    async def main(bench: Bench) -> None:
        pid = (await self_pid(bench))[1]
        stuck, call = bench.ask(word, cpu_ms=60_000)
        await until((tmp_path / "at-work").exists)
        behind = bench.ask("behind")[0]
        call.cancel(CancelReason.BARGE_IN, CancelMode.HARD)
        await asyncio.sleep(0.075)
        assert stuck.ends == []
        call.kill()
        assert stuck.ends == ["stopped"]
        assert await behind.outcome() == "finished"
        assert behind.texts == ["behind"]
        await until(lambda: not lives(pid))

    run(main)


async def self_pid(bench: Bench) -> tuple[str, int]:
    ear = bench.ask("pid")[0]
    await ear.outcome()
    text = next(payload for _, payload in ear.given if isinstance(payload, Text))
    return text.text, text.segment


def test_a_cancel_before_the_process_is_there_has_stopped_at_once(run: Any) -> None:
    async def main(bench: Bench) -> None:
        ear, call = bench.ask("never seen")
        call.cancel(CancelReason.USER_CANCEL, CancelMode.HARD)
        assert ear.ends == ["stopped"]
        assert await bench.says("seen") == "seen"

    run(main, spares=0)


def test_a_hook_that_hangs_at_the_start_is_ended_by_its_processor_time_or_by_force(run: Any) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.outcome("one", "Hanging", cpu_ms=50) == "isolated_cpu_limit"
        ear, call = bench.ask("two", "Hanging", "other", cpu_ms=60_000)
        call.kill()
        assert ear.ends == ["stopped"]
        assert await bench.outcome("three", "Unmakeable") == "isolated_load_failed"

    run(main)


def test_what_a_node_begins_ends_with_it(run: Any) -> None:
    async def main(bench: Bench) -> None:
        ear, _ = bench.ask("fork")
        await ear.outcome()

    run(main)


def test_the_process_sees_no_secret_of_the_host_and_no_lease(run: Any) -> None:
    async def main(bench: Bench) -> None:
        ear = bench.ask("environment")[0]
        await ear.outcome()
        assert "LLM_KEY" not in ear.texts[0]
        token = bench.ask("token")[0]
        await token.outcome()
        assert token.texts[0] == "None"

    run(main)


def test_a_session_that_is_over_stops_its_nodes_and_leaves_no_process(run: Any, tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        assert await bench.outcome("hello", "Polite") == "finished"
        bench.isolation.release("s")
        await until(lambda: len(bench.isolation.processes) == 1)  # the spare
        assert (tmp_path / "stopped").read_text() == "yes"

    run(main)


def test_a_call_for_the_whole_session_is_fed_and_ends_when_its_feed_does(run: Any) -> None:
    async def main(bench: Bench) -> None:
        ear, call = bench.ask("", event=False)
        call.feed(bench.event("a"))
        call.feed(bench.event("b"))
        call.end(True)
        assert await ear.outcome() == "finished"
        assert ear.texts == ["a", "a,b"]
        await until(lambda: len(bench.isolation.processes) == 1)

    run(main)


def test_a_node_that_falls_behind_and_a_host_that_is_full_say_so(run: Any) -> None:
    async def main(bench: Bench) -> None:
        ear, call = bench.ask("", event=False, cpu_ms=60_000)
        call.feed(bench.event("sleep"))
        for _ in range(64):
            call.feed(bench.event("more"))
        assert await ear.outcome() == "isolated_node_behind"
        await bench.says("one", "s1")
        await bench.says("two", "s2")
        with pytest.raises(ProviderError) as refused:
            bench.ask("three", session="s3")
        assert refused.value.reason == "isolated_workers_full"

    run(main, workers_max=2)


def test_an_unknown_type_and_a_config_that_is_none_of_ours_are_refused(run: Any) -> None:
    async def main(bench: Bench) -> None:
        with pytest.raises(ProviderError) as unknown:
            bench.ask("x", "Stranger")
        assert unknown.value.reason == "isolated_node_unknown"

    run(main)
    assert reference_of(lambda config: None) is None  # type: ignore[arg-type, return-value]
    assert reference_of(factories()["segmenter"]) == "rspp.nodes.segmenter:Segmenter"


def test_a_prewarmed_process_answers_within_the_patience_of_a_turn(run: Any) -> None:
    async def main(bench: Bench) -> None:
        await until(lambda: all(process.ready for process in bench.isolation.processes))
        began = time.monotonic()
        await bench.says("first")
        assert time.monotonic() - began < 0.5

    run(main)


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.005)


SPEC = """
pipeline: p
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  cut: {type: segmenter, version: v1, isolate: process, limits: {memory_mb: 128}}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt}
  - {from: stt.final, to: llm}
  - {from: llm, to: cut}
  - {from: cut, to: tts}
  - {from: tts, to: speaker.audio}
providers: {stt: a, llm: b, tts: c}
"""


def test_a_built_in_node_that_a_spec_isolates_runs_as_the_compiler_wrote_it() -> None:
    node = next(node for node in compile_text(SPEC).nodes if node.id == "cut")
    assert (node.role, node.modality, str(node.lifetime)) == (Role.CALL, "isolated", "event")

    async def main() -> None:
        isolation = Isolation(factories())
        await isolation.open()
        said: list[str] = []
        for text, final in (("One. Tw", False), ("o.", False), ("", True)):
            ear = Ear()
            event = msgspec.structs.replace(Bench(isolation).event(""), payload=Text(text, final=final))
            request = CallRequest(
                "c", 1, "cut", "isolated", "isolated", "k", 1, None, "t1", event, (), node.config
            )
            isolation.begin(request, ear)
            assert await ear.outcome() == "finished"
            said += ear.texts
        await isolation.close()
        assert said == ["One. Two."]

    asyncio.run(main())


def test_a_throttled_call_says_nothing_more_even_of_what_was_read_already(run: Callable[..., None]) -> None:
    async def main(bench: Bench) -> None:
        ear, call = bench.ask("many")
        heard, throttled = ear.produce, asyncio.Event()

        def throttle_at_the_first(payload: Audio | Text | Sample | Note, port: str | None = None) -> None:
            heard(payload, port)
            if len(ear.given) == 1:
                call.throttle(True)
                throttled.set()

        ear.produce = throttle_at_the_first  # type: ignore[method-assign]
        await asyncio.wait_for(throttled.wait(), 20)
        await asyncio.sleep(0.05)  # time enough for all the rest, if it were let through
        assert ear.texts == ["0"]
        call.throttle(False)
        assert await ear.outcome() == "finished"
        assert ear.texts[:30] == [str(number) for number in range(30)]

    run(main)
