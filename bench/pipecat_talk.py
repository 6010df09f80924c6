"""Many Pipecat sessions in one process on one core, under the load of `rspp bench sessions`. Runs inside the environment that
`pipecat_ratio.py` makes: `pipecat_talk.py SESSIONS SECONDS CORE`, and prints one JSON line with the same keys.

A session is a `PipelineWorker` with its default settings under a `WorkerRunner`: input transport, a recogniser, a model and a
synthesiser that do nothing of their own, output transport. Every 20 ms the caller's frame goes to `push_audio_frame`, as
Pipecat's own WebSocket transport does it. The synthesiser gives 100 ms of sound every 100 ms; the output transport cuts it
into its default 40 ms and paces it, as the WebSocket transport does. Logging is off. There is no voice detector, no
recogniser's work and no delivery report, for all of which RSPP's side pays.

Frames are counted as 20 ms of sound. Inward a frame is late from when it was due to when the last stage before the synthesiser
has it; outward each write is due 40 ms after the one before, and one that is late is counted once: RSPP's clock is never set anew.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from time import monotonic_ns, process_time_ns
from typing import Any

from loguru import logger

logger.remove()

from pipecat import __version__
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame, StartFrame, TTSAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

RATE = 16_000
FRAME_NS = 20_000_000
QUIET = bytes(640)
CHUNK = b"\x00\x20" * (RATE // 10)
FIRST = 5
LEAD_IN_S = 2.0


class Source(BaseInputTransport):
    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)


class Stage(FrameProcessor):
    """Passes everything on."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Listener(Stage):
    """The last stage inward: notes how late a frame is, by the order in which frames are due."""

    def __init__(self, late: list[int]) -> None:
        super().__init__()
        self.late = late
        self.first_due = self.number = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InputAudioRawFrame):
            self.late.append(monotonic_ns() - self.first_due - self.number * FRAME_NS)
            self.number += 1
        await super().process_frame(frame, direction)


class Voice(Stage):
    """Speaks without end, in chunks of 100 ms, from when it is told to."""

    async def speak(self) -> None:
        due = time.monotonic()
        while True:
            await self.push_frame(TTSAudioRawFrame(audio=CHUNK, sample_rate=RATE, num_channels=1))
            due += 0.1
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Sink(BaseOutputTransport):
    """Paces its writes as the WebSocket transport does, and notes how late they are."""

    def __init__(self, params: TransportParams, late: list[int]) -> None:
        super().__init__(params)
        self.late = late
        self.bytes_out = self.due = self.next_at = 0

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        span = len(frame.audio) * 1_000_000_000 // (2 * RATE)
        now = monotonic_ns()
        late = max(0, now - self.due) if self.due else 0
        self.late.append(late)
        # A late write moves all that follow, here as in the WebSocket transport: that is counted once.
        self.due = (self.due or now) + late + span
        self.bytes_out += len(frame.audio)
        wait = max(0, self.next_at - now)
        await asyncio.sleep(wait / 1e9)
        self.next_at = self.next_at + span if wait else monotonic_ns() + span
        return True


class Session:
    def __init__(self, into: list[int], out: list[int]) -> None:
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        self.source, self.sink = Source(params), Sink(params, out)
        self.listener, self.voice = Listener(into), Voice()
        self.worker = PipelineWorker(
            Pipeline([self.source, Stage(), self.listener, self.voice, self.sink]),
            params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
        )
        self.said = 0

    async def say(self) -> None:
        self.said += 1
        await self.source.push_audio_frame(InputAudioRawFrame(audio=QUIET, sample_rate=RATE, num_channels=1))


async def rounds(sessions: list[Session]) -> None:
    """Has every caller speak once every 20 ms, in 20 phases."""
    start = monotonic_ns() + FRAME_NS
    slots = [sessions[slot::20] for slot in range(20)]
    for slot, members in enumerate(slots):
        for session in members:
            session.listener.first_due = start + slot * FRAME_NS // 20
    done = 0
    while True:
        wanted = (monotonic_ns() - start) * 20 // FRAME_NS
        while done <= wanted:
            for session in slots[done % 20]:
                await session.say()
            done += 1
        await asyncio.sleep(max(0.0, (start + done * FRAME_NS // 20 - monotonic_ns()) / 1e9))


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def p99_ms(late: list[int]) -> float | None:
    return round(max(0, sorted(late)[int(0.99 * len(late))]) / 1e6, 1) if late else None


async def measure(count: int, seconds: float) -> dict[str, Any]:
    into, out = list[int](), list[int]()
    sessions, running, base = [], [], 0
    for number in range(count):
        if number == min(FIRST, count // 2):
            base = rss()
        session = Session(into, out)
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(session.worker)
        running.append(asyncio.create_task(runner.run()))
        sessions.append(session)
        await asyncio.sleep(0.02)
    await asyncio.sleep(1)
    running.append(asyncio.create_task(rounds(sessions)))
    for session in sessions:
        running.append(asyncio.create_task(session.voice.speak()))
        await asyncio.sleep(0.1 / count)
    await asyncio.sleep(LEAD_IN_S)
    gc.collect()
    gc.freeze()
    # What is noted of lateness is ours, not Pipecat's memory.
    held = rss() - base
    into.clear()
    out.clear()
    before, since = process_time_ns(), monotonic_ns()
    heard = sum(session.sink.bytes_out for session in sessions)
    await asyncio.sleep(seconds)
    cpu, took = process_time_ns() - before, monotonic_ns() - since
    frames_out = (sum(session.sink.bytes_out for session in sessions) - heard) // len(QUIET)
    frames = len(into) + frames_out
    p99_in, p99_out = p99_ms(into), p99_ms(out)
    return {
        "version": __version__,
        "sessions": count,
        "lateness_ms_p99": max(p99_in or 0, p99_out or 0),
        "lateness_in_ms_p99": p99_in,
        "lateness_out_ms_p99": p99_out,
        "cpu_us_per_frame": round(cpu / 1000 / max(1, frames), 2),
        "harness_cpu_us_per_frame": 0.0,
        "cpu_share": round(cpu / took, 3),
        "rss_bytes_per_session": held // max(1, count - min(FIRST, count // 2)),
        "frames": frames,
        "frames_due": int(2 * count * took / FRAME_NS),
        "sessions_alive": count,
    }


def main() -> None:
    os.sched_setaffinity(0, {int(sys.argv[3])})
    fast = importlib.import_module("uvloop") if importlib.util.find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=fast.new_event_loop if fast else None) as runner:
        print(json.dumps(runner.run(measure(int(sys.argv[1]), float(sys.argv[2])))), flush=True)
        # Its tasks are not waited for: what was to be measured has been.
        os._exit(0)


if __name__ == "__main__":
    main()
