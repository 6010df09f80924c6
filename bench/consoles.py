"""Do open consoles cost the calls anything, and is the page itself quick while hundreds of sessions live?

    python bench/consoles.py [--json] [--sessions 500] [--consoles 20] [--rounds 3] [--seconds 20] [--way serve]

Everything is real and runs as it is delivered: `rspp serve --console` (or `rspp run --control`, `--way run`, where console and calls
share one loop), callers over WebSockets (`consoles_calls.py`), consoles that ask what the page asks (`consoles_open.py`) and one
page in a headless Chromium (`consoles_page.py`). Providers are scripted. Spans without anybody looking and spans with all consoles
open take turns in one run, so that a machine that slows down slows both.

All that is RSPP is held to one core: supervisor, worker and console. Callers, consoles and browser stand for other machines
and are on the other core; consoles and browser are as polite there (`nice`) as other machines are.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import aiohttp

from rspp.cli import bench_machine as machine
from rspp.cli.bench_talk import MS_PER_CHARACTER, SENTENCE, SPEC
from rspp.contract.event import NS_PER_MS
from rspp.control.plane import ControlPlane, PlaneSettings
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets

HERE: Final = Path(__file__).parent
START: Final = "from rspp.cli.main import main; main()"
START_S_MAX: Final = 60.0
WORD_S_MAX: Final = 180.0
LINE_BYTES_MAX: Final = 16 << 20
POLITE: Final = 10
SETTLE_S: Final = 4.0
WARM_S: Final = 10.0
# The last part of a span with consoles is for the keys.
TYPING_S: Final = 6.0
# A session that came so shortly before the filter was touched may have been filtered away.
SHOWN_S_MAX: Final = 2.0
LAG_EVERY_S: Final = 0.5
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


# ---- processes -------------------------------------------------------------------------------------------------------


class Child:
    """One of our own scripts, told what to do a word a line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, script: str, order: dict[str, Any], cores: set[int], polite: int = 0) -> Child:
        def begin() -> None:
            os.sched_setaffinity(0, cores)
            os.nice(polite)

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HERE / script), json.dumps(order)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            preexec_fn=begin,
        )
        return cls(process)

    async def hear(self) -> bytes:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), WORD_S_MAX)
        if not line:
            raise SystemExit("a process of the benchmark has ended; what it said stands above")
        return line

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def ask(self, word: str) -> bytes:
        self.tell(word)
        return await self.hear()

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await _gone(self._process)


async def _gone(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


def family(pid: int) -> Iterator[int]:
    """The process and all that it has begun."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from family(int(child))


def cpu_s(pid: int) -> float:
    """CPU seconds of one process; what has ended has used none."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / TICKS_PER_S


class System:
    """RSPP as it is delivered, on one core."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.calls = self.url = self.token = self.admin = ""
        self._open = asyncio.Event()
        self._reading = [asyncio.create_task(self._read(one)) for one in (process.stdout, process.stderr)]

    async def _read(self, stream: Any) -> None:
        while line := (await stream.readline()).decode():
            if found := re.search(r"(?:takes calls|listening) at (ws\S+)", line):
                self.calls = found[1]
            elif found := re.search(r"probes at (\S+)", line):
                self.admin = found[1]
            elif found := re.search(r"console at (\S+?)/#token=(\S+)", line):
                self.url, self.token = found[1], found[2]
            elif not line.startswith(("control plane", "  ", "talk to it")):
                sys.stderr.write(line)
            if self.calls and self.url:
                self._open.set()

    async def ready(self) -> None:
        await asyncio.wait_for(self._open.wait(), START_S_MAX)
        deadline = monotonic() + START_S_MAX
        while self.admin and not any((one["state"] or {}).get("ready") for one in await self.workers()):
            if monotonic() > deadline:
                raise SystemExit("no worker got ready")
            await asyncio.sleep(0.2)

    async def workers(self) -> list[dict[str, Any]]:
        async with aiohttp.ClientSession() as http, http.get(f"{self.admin}/readyz") as answer:
            found: list[dict[str, Any]] = (await answer.json(content_type=None))["workers"]
            return found

    def roles(self) -> dict[int, str]:
        """What each of its processes is for."""
        found = {}
        for pid in family(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                own = "supervisor" if self.admin else "worker and console"
                named = {"rspp.cli.serve_worker": "worker", "rspp.cli.console": "console"}
                found[pid] = next((role for word, role in named.items() if word in words), own)
        return found

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(1)
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGTERM)
        await _gone(self.process)
        await asyncio.wait(self._reading)


async def publish(folder: Path, text: str) -> str:
    """A store with the pipeline in it, and its address."""
    url = f"sqlite://{folder / 'serve.db'}"
    store = open_store(url, Secrets())
    keys = KeyFolder(folder / "console-keys")
    first_key(keys, MachineClock().wall() // NS_PER_MS)
    plane = ControlPlane(store, keys=keys, settings=PlaneSettings(name="bench"))
    await plane.load()
    await plane.registry.publish(text, "bench")
    await plane.rollouts.begin("bench", "v1", author="bench")
    await store.close()
    return url


def spec(answer_ms: int) -> str:
    """The built-in voice graph with scripted providers."""
    sentences = max(1, round(answer_ms / (len(SENTENCE) * MS_PER_CHARACTER)))
    words = {
        "NAME": "bench",
        "VERSION": "v1",
        "DETECTOR": "scripted-vad",
        "ANSWER": " ".join([SENTENCE] * sentences),
        "CHARACTER": str(MS_PER_CHARACTER),
    }
    text = SPEC
    for word, value in words.items():
        text = text.replace(word, value)
    return text


@contextlib.asynccontextmanager
async def system(given: argparse.Namespace, folder: Path, core: int) -> AsyncIterator[System]:
    text, own = spec(given.answer_ms), "127.0.0.1:0"
    if given.way == "serve":
        store = await publish(folder, text)
        words = ["serve", "--store", store, "--dev", "--default-pipeline", "bench", "--workers", "1"]
        words += ["--sessions-max", str(2 * given.sessions + 50), "--admin", own, "--console", own]
        words += ["--drain-ms", "0"]
    else:
        file = folder / "bench.yaml"
        file.write_text(text)
        words = ["run", str(file), "--control", own]
    words += ["--listen", own, "--data", str(folder)]
    if given.record_level:
        words += ["--record-level", given.record_level]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        start_new_session=True,
    )
    made = System(process)
    try:
        await made.ready()
        yield made
    finally:
        await made.end()


# ---- measuring -------------------------------------------------------------------------------------------------------


class Bench:
    """One run: who is there, and what they saw in each span."""

    def __init__(
        self, given: argparse.Namespace, made: System, callers: Child, consoles: Child, page: Child
    ) -> None:
        self.given, self.made = given, made
        self.callers, self.consoles, self.page = callers, consoles, page
        self.spans: list[dict[str, Any]] = []

    async def span(self, looked_at: bool) -> None:
        """One span, without anybody looking or with everybody."""
        if looked_at:
            for one in (self.consoles, self.page):
                await one.ask("open")
        await asyncio.sleep(SETTLE_S)
        roles = self._roles()
        for one in (self.callers, *((self.consoles, self.page) if looked_at else ())):
            one.tell("begin")
        before, since = {pid: cpu_s(pid) for pid in roles}, monotonic()
        lagging = asyncio.create_task(self._lags())
        typing_at = await self._through(looked_at)
        lagging.cancel()
        shares: dict[str, float] = {}
        for pid, role in roles.items():
            used = max(0.0, cpu_s(pid) - before[pid])
            shares[role] = round(shares.get(role, 0.0) + used / (monotonic() - since), 3)
        await asyncio.wait((lagging,))
        heard = json.loads(await self.callers.ask("end"))
        visits = heard.pop("visits")
        found = {"looked_at": looked_at, "calls": heard, "cpu_share": shares, "loop_lag_ms": self.lags}
        if looked_at:
            found["consoles"] = json.loads(await self.consoles.ask("end"))
            found["page"] = page_figures(json.loads(await self.page.ask("end")), visits, typing_at)
            for one in (self.page, self.consoles):
                await one.ask("close")
        self.spans.append(found)

    async def _through(self, looked_at: bool) -> float:
        """Let it last; when the filter was touched."""
        until = monotonic() + self.given.seconds
        typing_at = float("inf")
        if looked_at:
            await asyncio.sleep(max(0.0, self.given.seconds - TYPING_S))
            typing_at = time() * 1000
            await self.page.ask("type")
        await asyncio.sleep(max(0.0, until - monotonic()))
        return typing_at

    def _roles(self) -> dict[int, str]:
        roles = self.made.roles()
        for child, role in ((self.callers, "callers"), (self.consoles, "consoles"), (self.page, "browser")):
            roles |= dict.fromkeys(family(child.pid), role)
        return roles

    async def _lags(self) -> None:
        """How late the worker says that its loop is."""
        self.lags: list[float] = []
        while self.made.admin:
            await asyncio.sleep(LAG_EVERY_S)
            states = [one["state"] for one in await self.made.workers() if one["state"]]
            self.lags += [one["lag_ms"] for one in states]


def page_figures(noted: dict[str, Any], visits: dict[str, float], typing_at: float) -> dict[str, Any]:
    """The page's notes as figures; a session that was never shown counts as shown when the filter was touched."""
    due = {one: at for one, at in visits.items() if at < typing_at - SHOWN_S_MAX * 1000}
    shown = [max(0.0, noted["rows"].get(one, typing_at) - at) for one, at in due.items()]
    return {
        "frame_gap_ms": quantiles(noted["gaps"]),
        "long_tasks": len(noted["tasks"]),
        "long_task_ms_max": round(max(noted["tasks"], default=0.0), 1),
        "key_ms": quantiles(noted["keys"]),
        "shown_ms": quantiles(shown),
        "never_shown": sum(one not in noted["rows"] for one in due),
        "answer_ms": quantiles(noted["answers"]),
    }


def quantiles(of: list[float]) -> dict[str, Any]:
    ordered = sorted(of)

    def at(share: float) -> float | None:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None

    return {"p50_ms": at(0.5), "p95_ms": at(0.95), "max_ms": at(1.0), "count": len(ordered)}


async def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    core = machine.cores()[0]
    others = {machine.other_core(core)}
    with tempfile.TemporaryDirectory(prefix="rspp-bench-") as name:
        async with contextlib.AsyncExitStack() as stack:
            made = await stack.enter_async_context(system(given, Path(name), core))
            opened = {"url": made.url, "token": made.token}
            calls = {"url": made.calls, "sessions": given.sessions, "every_s": given.every_s}
            wanted = (
                ("consoles_calls.py", calls, 0),
                ("consoles_open.py", {**opened, "consoles": given.consoles}, POLITE),
                ("consoles_page.py", opened, POLITE),
            )
            children = []
            for script, order, polite in wanted:
                children.append(await Child.start(script, order, others, polite))
                stack.push_async_callback(children[-1].end)
            for child in children:
                await child.hear()
            bench = Bench(given, made, *children)
            await asyncio.sleep(WARM_S)
            for _ in range(given.rounds):
                for looked_at in (False, True):
                    await bench.span(looked_at)
                    sys.stderr.write(f"{told(bench.spans[-1])}\n")
            return bench.spans


# ---- telling ---------------------------------------------------------------------------------------------------------

Path_ = tuple[str, ...]
ROWS: Final[tuple[tuple[str, Path_], ...]] = (
    ("frame late, ms, p50", ("calls", "late", "p50_ms")),
    ("frame late, ms, p95", ("calls", "late", "p95_ms")),
    ("frame late, ms, p99", ("calls", "late", "p99_ms")),
    ("first sound after a question, ms, p50", ("calls", "answer", "p50_ms")),
    ("first sound after a question, ms, p95", ("calls", "answer", "p95_ms")),
    ("through the worker's loop, ms, p50", ("calls", "ping", "p50_ms")),
    ("through the worker's loop, ms, p95", ("calls", "ping", "p95_ms")),
    ("through the worker's loop, ms, p99", ("calls", "ping", "p99_ms")),
    ("the callers themselves late, ms, p99", ("calls", "own", "p99_ms")),
    ("frames heard", ("calls", "late", "count")),
    ("sessions alive", ("calls", "alive")),
    ("CPU, worker", ("cpu_share", "worker")),
    ("CPU, console", ("cpu_share", "console")),
    ("CPU, worker and console", ("cpu_share", "worker and console")),
    ("CPU, callers", ("cpu_share", "callers")),
    ("CPU, consoles", ("cpu_share", "consoles")),
    ("CPU, browser", ("cpu_share", "browser")),
    ("GraphQL at consoles, ms, p50", ("consoles", "answer", "p50_ms")),
    ("GraphQL at consoles, ms, p95", ("consoles", "answer", "p95_ms")),
    ("questions a second, all", ("consoles", "questions_per_s")),
    ("bytes a second, each", ("consoles", "bytes_per_s_each")),
    ("messages a second, each", ("consoles", "messages_per_s_each")),
    ("faults", ("consoles", "faults")),
    ("page: gap of frames, ms, p95", ("page", "frame_gap_ms", "p95_ms")),
    ("page: gap of frames, ms, most", ("page", "frame_gap_ms", "max_ms")),
    ("page: tasks over 50 ms", ("page", "long_tasks")),
    ("page: longest of them, ms", ("page", "long_task_ms_max")),
    ("page: key to next frame, ms, p95", ("page", "key_ms", "p95_ms")),
    ("page: key to next frame, ms, most", ("page", "key_ms", "max_ms")),
    ("page: new session shown after, ms, p50", ("page", "shown_ms", "p50_ms")),
    ("page: new session shown after, ms, most", ("page", "shown_ms", "max_ms")),
    ("page: GraphQL, ms, p95", ("page", "answer_ms", "p95_ms")),
)


def value(span: dict[str, Any], path: Path_) -> float | None:
    found: Any = span
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    return found


def told(span: dict[str, Any]) -> str:
    late = span["calls"]["late"]
    return f"{'with' if span['looked_at'] else 'without'}: late {late}, cpu {span['cpu_share']}"


def shown(spans: list[dict[str, Any]], path: Path_) -> str:
    """The median, and the least and the most of the spans."""
    found = [one for one in (value(span, path) for span in spans) if one is not None]
    if not found:
        return ""
    return f"{statistics.median(found):g} ({min(found):g} to {max(found):g})"


def table(spans: list[dict[str, Any]]) -> str:
    without, watched = ([one for one in spans if one["looked_at"] is which] for which in (False, True))
    lines = [f"{'':42}{'without consoles':28}with consoles"]
    for name, path in ROWS:
        one, other = shown(without, path), shown(watched, path)
        if one or other:
            lines.append(f"{name:42}{one:28}{other}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--way", choices=("serve", "run"), default="serve")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--consoles", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each span")
    parser.add_argument(
        "--every-s", type=float, default=60.0, help="from one question of a caller to the next"
    )
    parser.add_argument("--answer-ms", type=int, default=4_700)
    parser.add_argument("--record-level", default="", help="as of `rspp serve`")
    given = parser.parse_args()
    spans = machine.run(measure(given))
    if given.json:
        print(json.dumps({"asked": vars(given), "loop": machine.loop_name(), "spans": spans}, indent=2))
    else:
        print(table(spans))


if __name__ == "__main__":
    main()
