"""What a sync node may take: a moment of the step, no file, no line, no thread, and no more memory the longer it runs."""

from __future__ import annotations

import gc
import resource
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rspp.contract.event import Audio, Fault, Note, Payload, Sample, Signal, Text
from rspp.contract.words import EventKind
from rspp.testing.conformance.checks import require
from rspp.testing.conformance.node_bench import Feed, NodeTarget, play, pressed
from rspp.testing.harness import NodeHarness

# A busy machine may stop any process for a while; who blocks does so each time.
TRIES: Final = 3
# A first run fills what is filled once: compiled patterns, tables, caches with a bound.
WARM_TURNS: Final = 40
MEASURED_TURNS: Final = 120
# A turn's beginning and its end are compared over so many events, with so many between them.
ENDS_EVENTS: Final = 300
MIDDLE_EVENTS: Final = 6_000
SLOWER_MAX: Final = 4.0
# What the interpreter tells of itself when something is asked of the machine.
REACHES: Final = frozenset(
    {
        "open", "time.sleep", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen",
        "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir",
        "shutil.rmtree", "urllib.Request", "sqlite3.connect",
    }
)  # fmt: skip
LONG: Final = "A sentence that is one of many. " * 2_000
ODD: Final[dict[EventKind, Sequence[Payload]]] = {
    EventKind.TEXT: (
        Text(""),
        Text("", final=True),
        Text("\0\x1b[2J\u202e\U0001f600 e\u0301", segment=1, role="nobody"),
        Text(LONG, segment=2, final=True),
        Text("x" * 60_000, segment=3, final=True),
        Text("again", segment=0, revision=9, final=True),
        Text("again", segment=0, revision=0, final=True),
    ),
    EventKind.AUDIO: (
        Audio(b"", 0, 0),
        Audio(bytes(2), 1, 0),
        Audio(b"\xff\x7f" * 48_000, 48_000, 5, 48_000),
        Audio(b"", 0, 99_999, end=True),
        Audio(bytes(640), 320, 0),
    ),
    EventKind.CONTROL: (
        Signal("digit_pressed", "RK-02"),
        Signal("digit_pressed", "RK-02", detail={"digit": None}),
        Signal("digit_pressed", "RK-02", detail={"digit": "\U0001f600" * 50}),
        Signal("no_such_signal", "nobody"),
        *(pressed("1") for _ in range(200)),
    ),
    EventKind.METRICS: (Sample("", float("nan")), Sample("x", float("inf"), "ms")),
    EventKind.DEBUG: (Note(""), Note(LONG)),
    EventKind.ERROR: (Fault("", ""), Fault("x" * 1_000, LONG)),
}


async def _survives(target: NodeTarget) -> None:
    """Whatever comes of a kind that its port takes, it does not raise; and gives no more in a step than it may."""
    for port, kinds in target.inputs.items():
        for kind in kinds:
            with target.harness() as harness:
                play(harness, [Feed(port, payload) for payload in ODD[kind]])
                harness.new_turn()
                play(harness, target.turn())


async def _never_blocks(target: NodeTarget) -> None:
    blocked = await quickest(lambda: _slowest_ms(target))
    require(
        blocked <= target.hook_ms_max,
        f"it kept the step for {blocked:.0f} ms; at most {target.hook_ms_max:.0f} ms are allowed",
    )


def _slowest_ms(target: NodeTarget) -> float:
    with target.harness() as harness:
        play(harness, target.turn())
        harness.new_turn()
        play(harness, target.turn())
        stopped = spent_ms(harness.end)
        return max(stopped, harness.slowest_ms)


async def _reaches_for_nothing(target: NodeTarget) -> None:
    """In the step it opens nothing, asks nobody and never sleeps; what is loaded once was loaded in the turn before."""
    with target.harness() as harness:
        play(harness, target.turn())
        harness.new_turn()
        with _watched() as reached:
            waits = await quickest(lambda: _waits(target, harness))
    require(not reached, f"inside the step it did {', '.join(dict.fromkeys(reached[:10]))}")
    require(not waits, f"inside the step it waited, {waits:.0f} times in one turn")


def _waits(target: NodeTarget, harness: NodeHarness) -> float:
    """How often this thread gave the processor away by itself: who computes never does."""
    before = _given_away()
    play(harness, target.turn())
    harness.cancel().forget().new_turn()
    return _given_away() - before


def _given_away() -> int:
    thread = getattr(resource, "RUSAGE_THREAD", None)  # where the system counts by thread
    return 0 if thread is None else resource.getrusage(thread).ru_nvcsw


@contextmanager
def _watched() -> Iterator[list[str]]:
    """What this thread asks of the machine meanwhile. The interpreter keeps a hook for ever, so this one falls silent."""
    reached: list[str] = []  # bounded: by the script
    here, watching = threading.get_ident(), True

    def hook(event: str, _: tuple[object, ...]) -> None:
        if watching and event in REACHES and threading.get_ident() == here:
            reached.append(event)

    sys.addaudithook(hook)
    try:
        yield reached
    finally:
        watching = False


async def _keeps_nothing(target: NodeTarget) -> None:
    """However many turns there were, it holds no more than after the first ones."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        with target.harness() as harness:
            _turns(target, harness, WARM_TURNS)
            grown = _least_grown(target, harness)
    finally:
        if not tracing:
            tracemalloc.stop()
    require(
        grown <= target.kept_bytes_max,
        f"{MEASURED_TURNS} turns on, it holds {grown} bytes more; at most {target.kept_bytes_max} are allowed",
    )


def _least_grown(target: NodeTarget, harness: NodeHarness) -> int:
    """How much more it holds after so many turns; what is only filled once is not held more after as many again."""
    grown: list[int] = []  # bounded: TRIES
    while not grown or (min(grown) > target.kept_bytes_max and len(grown) < TRIES):
        before = _held_bytes()
        _turns(target, harness, MEASURED_TURNS)
        grown.append(_held_bytes() - before)
    return min(grown)


def _turns(target: NodeTarget, harness: NodeHarness, count: int) -> None:
    script = target.turn()
    for number in range(count):
        play(harness, script)
        if number % 3 == 2:
            harness.cancel()
        harness.forget().new_turn()


def _held_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def _many_events(target: NodeTarget) -> None:
    """A turn of many thousands of events is served to its end, and none of them takes longer for those before it."""
    script = target.turn()
    with target.harness() as harness:
        rounds = max(1, ENDS_EVENTS // len(script))
        first = await quickest(lambda: spent_ms(lambda: _rounds(harness, script, rounds)))
        _rounds(harness, script, MIDDLE_EVENTS // len(script))
        last = await quickest(lambda: spent_ms(lambda: _rounds(harness, script, rounds)))
    slower = last / max(first, 1.0)
    require(
        slower <= SLOWER_MAX, f"late in a long turn it takes {slower:.0f} times as long for the same events"
    )


def _rounds(harness: NodeHarness, script: Sequence[Feed], count: int) -> None:
    for _ in range(count):
        play(harness, script)
        harness.forget()


async def quickest(measure: Callable[[], float]) -> float:
    """The best of a few tries: what a node does itself it does each time."""
    return min(measure() for _ in range(TRIES))


def spent_ms(doing: Callable[[], object]) -> float:
    since = time.perf_counter()
    doing()
    return (time.perf_counter() - since) * 1000


def belongings() -> frozenset[str]:
    """What this process has that a node could leave behind: threads, open files, children."""
    threads = {f"the thread {one.name} ({one.ident})" for one in threading.enumerate()}
    return frozenset(threads | _listed("fd", "the open file") | _children())


def _listed(folder: str, what: str) -> set[str]:
    place = Path("/proc/self") / folder
    if not place.is_dir():
        return set()
    found = set()
    for entry in place.iterdir():
        try:
            found.add(f"{what} {entry.readlink()} ({entry.name})")
        except OSError:  # the one by which the folder itself was read
            continue
    return found


def _children() -> set[str]:
    try:
        return {f"the process {one}" for one in Path("/proc/thread-self/children").read_text().split()}
    except OSError:
        return set()


Row = tuple[str, str, Callable[[NodeTarget], Awaitable[None]]]
ROWS: Final[Sequence[Row]] = [
    ("isolation", "never keeps the step waiting", _never_blocks),
    ("isolation", "reaches for nothing outside its context", _reaches_for_nothing),
    ("bounds", "survives whatever its ports may bring", _survives),
    ("bounds", "keeps nothing of the turns that are over", _keeps_nothing),
    ("bounds", "is no slower late in a long turn", _many_events),
]
