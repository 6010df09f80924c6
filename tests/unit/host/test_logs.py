"""Every log record is one line of valid JSON with the ids in scope, holds no secret, and is written without keeping anybody."""

from __future__ import annotations

import asyncio
import json
import linecache
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rspp.cli.tracing import without_personal
from rspp.contract.event import Text
from rspp.host.logs import (
    DEBUG,
    IDS,
    TEXT_CHARACTERS_MAX,
    TRACEBACK_CHARACTERS_MAX,
    VALUE_CHARACTERS_MAX,
    LogWriter,
    as_json,
    as_words,
    writers,
)
from rspp.host.ports import LiveCall, ProviderInfo
from rspp.host.registry import ProviderKind, Registry
from rspp.host.secrets import Secrets
from rspp.nodes import factories
from rspp.timeline.redaction.forms import without_secrets
from rspp.timeline.redaction.keywords import names_a_secret
from tests.unit.host.stage import Stage, on_stage, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SECRET = "hunter2-is-not-a-good-one"
clean = Secrets({"KEY": SECRET})
clean.resolve("env://KEY")
nodes = logging.getLogger("acme.nodes")


@contextmanager
def only(writer: LogWriter) -> Iterator[logging.Logger]:
    """A logger that this writer alone hears."""
    log = logging.Logger("acme.alone")  # noqa: LOG001 - beside the tree, where nobody else listens
    log.addHandler(writer)
    try:
        yield log
    finally:
        log.removeHandler(writer)


class Pipe:
    """What a writer wrote."""

    def __init__(self, **options: Any) -> None:
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)
        options.setdefault("clean", lambda text: without_secrets(clean.scrub(text)))
        self.writer = LogWriter(self.writes, **options)
        self.raw = b""
        self._read = 0

    def lines(self) -> list[dict[str, Any]]:
        self.drain()
        self.writer.close()
        self.drain()
        assert self.raw.endswith(b"\n") or not self.raw
        return [json.loads(line) for line in self.raw.split(b"\n")[:-1]]

    def drain(self) -> None:
        deadline = time.monotonic() + 5
        while self.writer._lines and time.monotonic() < deadline:
            self._take()
            time.sleep(0.002)
        self._take()

    def _take(self) -> None:
        try:
            while data := os.read(self.reads, 1 << 16):
                self.raw += data
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.writer.close()
        os.close(self.reads)
        os.close(self.writes)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    root, made = logging.getLogger(), Pipe()
    before = root.level
    root.addHandler(made.writer)
    root.setLevel(logging.INFO)
    yield made
    root.removeHandler(made.writer)
    root.setLevel(before)
    made.close()


class Awkward:
    def __str__(self) -> str:
        raise RuntimeError("I have no words")

    __repr__ = __str__


ODD: list[tuple[str, tuple[object, ...], dict[str, object]]] = [
    ("two\nlines\r\nand a \x00 and a \x1b[31m and \u2028", (), {}),
    ("half a character \udcff\ud800", (), {}),
    ("%s", (b"\xff\xfe\n",), {}),
    ("%s", (Awkward(),), {}),
    ("%d of %s", ("not a number",), {}),
    ("too long " * 100_000, (), {}),
    ("numbers", (), {"nan": float("nan"), "far": float("inf"), "huge": 10**400, "big": 2**70}),
    ("awkward fields", (), {"it": Awkward(), "many": list(range(100_000)), "none": None, "odd\n\udcff": 1}),
]


@pytest.mark.proves("F-067")
@pytest.mark.parametrize(("message", "arguments", "extra"), ODD)
def test_whatever_is_logged_is_one_line_of_json(
    pipe: Pipe, message: str, arguments: tuple[object, ...], extra: dict[str, object]
) -> None:
    # Not over the root, where pytest has a handler that raises for some of these.
    with only(pipe.writer) as log:
        log.warning(message, *arguments, extra=extra)
    (line,) = pipe.lines()
    assert line["logger"] == "acme.alone"
    assert line["level"] == "warning"
    assert line["time"].endswith("Z")
    assert len(line["message"]) <= TEXT_CHARACTERS_MAX + 40
    assert pipe.raw.count(b"\n") == 1


def test_a_field_whose_name_says_that_it_is_a_secret_is_not_shown_and_a_key_is_cleaned() -> None:
    made = Pipe(hides=names_a_secret)
    with only(made.writer) as log:
        log.warning(
            "a call", extra={"pin": 47110815, "password": "maple", f"token={SECRET}": 1, "tokens_max": 512}
        )
    (line,) = made.lines()
    made.close()
    assert (line["pin"], line["password"], line["tokens_max"]) == ("[redacted]", "[redacted]", 512)
    assert SECRET.encode() not in made.raw


def test_an_exception_is_in_the_line_of_its_record(pipe: Pipe) -> None:
    try:
        raise ValueError(f"the key is {SECRET}\nand more")
    except ValueError:
        nodes.exception("it failed")
    (line,) = pipe.lines()
    assert "ValueError" in line["traceback"]
    assert SECRET.encode() not in pipe.raw


@pytest.mark.parametrize(
    "planted",
    [
        SECRET,
        "sk-proj-abcdefghijklmnop1234567890",
        "AKIAIOSFODNN7EXAMPLE",
        "Authorization: Bearer abcdefgh12345678ijkl",
        "postgres://admin:secret1234@db/x",
        "https://x.test/y?api_key=abcdef123456",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    ],
)
def test_a_planted_secret_comes_out_nowhere(pipe: Pipe, planted: str) -> None:
    nodes.warning("a message with %s in it", planted, extra={"field": planted, "deep": {"a": [planted]}})
    (line,) = pipe.lines()
    secret = planted.rpartition("=")[2].rpartition(" ")[2].removeprefix("postgres://admin:").partition("@")[0]
    assert secret.encode() not in pipe.raw
    assert "[redacted]" in line["message"]


@pytest.mark.parametrize("most", [TEXT_CHARACTERS_MAX, TRACEBACK_CHARACTERS_MAX, VALUE_CHARACTERS_MAX])
def test_a_secret_that_stands_where_a_text_is_cut_is_not_left_by_half(pipe: Pipe, most: int) -> None:
    text = f"{'x ' * (most // 2 - 5)}{SECRET}{' y' * TRACEBACK_CHARACTERS_MAX}"
    try:
        raise ValueError(text)
    except ValueError:
        nodes.exception(text, extra={"field": text})
    (line,) = pipe.lines()
    assert SECRET[:10].encode() not in pipe.raw
    for name, longest in (("message", TEXT_CHARACTERS_MAX), ("field", VALUE_CHARACTERS_MAX)):
        assert len(line[name]) <= longest + 20
        assert line[name].endswith("]")
    assert len(line["traceback"]) <= TRACEBACK_CHARACTERS_MAX + 20


def test_what_others_said_is_masked_in_tracebacks_and_remarks_alone() -> None:
    pipe = Pipe(mask=without_personal)
    with only(pipe.writer) as log:
        try:
            raise ValueError(f"cannot read 'call me at 030 1234567', {SECRET}, s-06fd3effbfd2b7e8/turn-3")
        except ValueError:
            log.exception("it failed at 030 7654321")
    remarks = logging.Logger(DEBUG)  # noqa: LOG001 - beside the tree, where nobody else listens
    remarks.addHandler(pipe.writer)
    remarks.info("a@b.de said s-06fd3effbfd2b7e8/turn-3")
    failed, remark = pipe.lines()
    assert "030 1234567" not in failed["traceback"]
    assert SECRET not in failed["traceback"]
    assert "s-06fd3effbfd2b7e8/turn-3" in failed["traceback"]
    assert "test_logs.py" in failed["traceback"]
    assert failed["message"] == "it failed at 030 7654321"
    assert remark["message"] == "[email] said s-06fd3effbfd2b7e8/turn-3"


def test_the_code_of_a_traceback_is_read_by_the_thread_that_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is slow, or gone, keeps no call."""
    readers: set[int] = set()
    updatecache = linecache.updatecache

    def reads(*arguments: Any) -> list[str]:
        readers.add(threading.get_ident())
        return updatecache(*arguments)

    monkeypatch.setattr(linecache, "updatecache", reads)
    linecache.clearcache()
    pipe = Pipe()
    with only(pipe.writer) as log:
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("it failed")
    (line,) = pipe.lines()
    assert 'raise ValueError("odd")' in line["traceback"]
    assert readers
    assert threading.get_ident() not in readers


def test_an_exception_as_long_as_a_book_or_with_no_words_is_one_short_line(pipe: Pipe) -> None:
    for words in ("x" * 1_000_000, Awkward()):
        try:
            try:
                raise ValueError(words)
            except ValueError as error:
                raise RuntimeError("odd") from error
        except RuntimeError:
            with only(pipe.writer) as log:
                log.exception("it failed")
    lines = pipe.lines()
    assert len(lines) == 2
    assert all(len(line["traceback"]) < TRACEBACK_CHARACTERS_MAX + 40 for line in lines)


def test_a_reader_who_lets_nobody_wait_gets_whole_lines() -> None:
    """The descriptor is shared, and somebody has set it so that a full pipe raises instead of waiting."""
    pipe = Pipe()
    os.set_blocking(pipe.writes, False)
    with only(pipe.writer) as log:
        for number in range(300):
            log.warning("%d %s", number, "x" * 1_000)
    deadline = time.monotonic() + 10
    while pipe.raw.count(b"\n") < 300 and time.monotonic() < deadline:
        pipe._take()
        time.sleep(0.001)
    lines = pipe.lines()
    assert [line["message"].split()[0] for line in lines] == [str(number) for number in range(300)]
    assert (pipe.writer.written, pipe.writer.dropped) == (300, 0)


class Talkative:
    """A sync node that logs what no log should be given."""

    def __init__(self, config: Any) -> None:
        self.inner = factories()["segmenter"](config)

    def on_event(self, ctx: Any, port: str, event: Any) -> None:
        nodes.info("a\nnode \udcff says %s", b"\xff\n", extra={"count": 3})
        self.inner.on_event(ctx, port, event)


class Speaker:
    """A provider that logs within its call."""

    def __init__(self, name: str) -> None:
        self.info = ProviderInfo(name=name, version="v1", modality="llm")

    async def open(self) -> None:
        nodes.info("nobody's yet")

    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        await asyncio.sleep(0.05)
        nodes.info("a call, with %s", SECRET)
        await call.produce(Text("Yes. ", role="assistant"))
        await call.produce(Text("No.", final=True, role="assistant", revision=1))


@pytest.mark.proves("F-067")
def test_each_line_of_a_session_is_json_with_the_ids_that_are_in_scope(pipe: Pipe) -> None:
    # What the runner of these tests caught of the odd bytes it could not hand on to its own parent.
    root = logging.getLogger()
    for other in [one for one in root.handlers if one is not pipe.writer]:
        root.removeHandler(other)
    ids: list[str] = []

    async def scene(stage: Stage) -> None:
        for tenant in ("t1", "t2"):
            caller = stage.call(tenant)
            await caller.speak()
            await caller.until("close")
            assert caller.seat is not None
            ids.append(caller.seat.session_id)
            stage.host.blame(caller.seat, "a part", ValueError("odd"))
            logging.getLogger("rspp.test").warning(
                "said", extra={"session": caller.seat.session_id, "turn": "t"}
            )

    registry = Registry(
        providers=registry_of(scripted_llm=ProviderKind("llm", lambda name, _: Speaker(name))).providers,
        nodes={**factories(), "segmenter": Talkative},
    )
    on_stage(scene, registry=registry)
    lines = pipe.lines()
    of_node = [line for line in lines if line["message"].startswith("a\nnode")]
    of_call = [line for line in lines if line["message"].startswith("a call")]
    assert len(of_node) >= 2
    assert len(of_call) == 2
    for line, node in [(line, "segmenter") for line in of_node] + [(line, "llm") for line in of_call]:
        assert line["session_id"] in ids
        assert line["turn_id"].startswith(f"{line['session_id']}/turn-")
        assert line["pipeline_version"] == "v1"
        assert line["node_id"] == node
    assert {line["session_id"] for line in of_node} == set(ids)
    assert of_node[0]["count"] == 3
    (early,) = [line for line in lines if line["message"] == "nobody's yet"]
    assert not set(IDS) & set(early)
    said = [line for line in lines if line["logger"] == "rspp.test"]
    assert [(line["session_id"], line["turn_id"]) for line in said] == [(one, "t") for one in ids]
    assert SECRET.encode() not in pipe.raw
    # The host is gone: nobody is asked who runs any more.
    assert [one._scopes for one in writers()] == [[]]


def test_a_slow_reader_keeps_nobody_and_what_is_lost_is_counted_and_told() -> None:
    pipe = Pipe(lines_max=16)
    began = time.monotonic()
    with only(pipe.writer) as log:
        for number in range(2_000):  # more than a pipe holds, and nobody reads
            log.warning("%d %s", number, "x" * 400)
    took = time.monotonic() - began
    assert took < 2.0
    assert pipe.writer.dropped > 1_000
    assert len(pipe.writer._lines) <= 16
    deadline = time.monotonic() + 5
    while b"lines of the log were lost" not in pipe.raw and time.monotonic() < deadline:
        pipe._take()
        time.sleep(0.01)
    lines = pipe.lines()
    told = [line for line in lines if line["logger"] == "rspp.logs"]
    kept = [line for line in lines if line["logger"] == "acme.alone"]
    assert sum(line["lines"] for line in told) + len(kept) == 2_000
    pipe.close()


def test_a_reader_that_is_gone_or_stuck_does_not_keep_the_process_from_ending() -> None:
    for gone in (True, False):
        reads, writes = os.pipe()
        writer = LogWriter(writes, clean=str)
        if gone:
            os.close(reads)
        with only(writer) as log:
            for _ in range(500):
                log.warning("y" * 400)
        began = time.monotonic()
        writer.close()
        assert time.monotonic() - began < 2
        assert writer.dropped > 0
        if not gone:
            os.set_blocking(reads, False)
            while writer._thread.is_alive():  # it is in the middle of a write, and ends when somebody reads
                try:
                    os.read(reads, 1 << 16)
                except BlockingIOError:
                    time.sleep(0.001)
            os.close(reads)
        os.close(writes)


def test_for_people_a_record_is_in_words() -> None:
    line = {"level": "warning", "logger": "a", "message": "b sk-proj-abcdefghijklmnop1234567890"}
    assert as_words(line, without_secrets) == b"WARNING a: b [redacted]"
    assert json.loads(as_json(line, str))["message"] == line["message"]
    forged = {**line, "message": "b\nERROR a: \x1b[31mnot so"}
    assert as_words(forged, without_secrets) == b"WARNING a: b\n    ERROR a: [31mnot so"
