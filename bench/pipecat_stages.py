"""What Pipecat takes to carry audio frames through stages that do nothing. Runs inside the environment that
`pipecat_ratio.py` makes, and prints one JSON line: nanoseconds of CPU for all frames in, and for all frames out.

A stage is a `FrameProcessor` that passes every frame on. They stand in a `Pipeline` under a `PipelineWorker` (the
`PipelineTask` of older versions), with metrics, turn tracking, RTVI, heartbeats, idle detection and logging off.
Frames are made before the clock starts, and pushed in small bursts, each awaited at the far end: so queues stay short
and the event loop is not charged for idling between frames.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import process_time_ns

from loguru import logger

logger.remove()

from pipecat import __version__
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

PCM = bytes(640)  # 20 ms at 16 kHz
BURST = 10


class Stage(FrameProcessor):
    """Passes everything on."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class Last(Stage):
    """The last stage: it passes on as well, and counts what it has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = 0
        self.arrived = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame | OutputAudioRawFrame):
            self.awaited -= 1
            if self.awaited == 0:
                self.arrived.set()


async def carry(worker: PipelineWorker, last: Last, frames: list[Frame]) -> int:
    """Nanoseconds of CPU until the last of these frames has come out."""
    before = process_time_ns()
    for start in range(0, len(frames), BURST):
        burst = frames[start : start + BURST]
        last.awaited = len(burst)
        last.arrived.clear()
        for frame in burst:
            await worker.queue_frame(frame)
        await last.arrived.wait()
    return process_time_ns() - before


async def cost(stages: int, kind: type[Frame], count: int) -> int:
    last = Last()
    worker = PipelineWorker(
        Pipeline([*(Stage() for _ in range(stages - 1)), last]),
        params=PipelineParams(audio_in_sample_rate=16_000, audio_out_sample_rate=16_000),
        enable_turn_tracking=False,
        enable_rtvi=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())

    def made(number: int) -> list[Frame]:
        return [kind(audio=PCM, sample_rate=16_000, num_channels=1) for _ in range(number)]

    await carry(worker, last, made(10 * BURST))
    nanoseconds = await carry(worker, last, made(count))
    await worker.cancel()
    await running
    return nanoseconds


async def measure(stages_in: int, stages_out: int, frames: int) -> None:
    into = await cost(stages_in, InputAudioRawFrame, frames)
    out = await cost(stages_out, OutputAudioRawFrame, frames)
    print(json.dumps({"version": __version__, "in_ns": into, "out_ns": out}))


if __name__ == "__main__":
    asyncio.run(measure(*map(int, sys.argv[1:4])))
