"""`rspp bench interrupt`: how soon an answer stops when the caller speaks, and when a cancel comes, among other callers."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import click
import msgspec

from rspp.cli import bench_machine as machine
from rspp.cli.bench_interrupt_callers import Interrupted, Order
from rspp.cli.compose import DEFAULTS, READY, installed
from rspp.cli.output import emit_json, print_table

GOAL_SILENCE_MS: Final = 250.0
GOAL_FENCE_MS: Final = 5.0
RUN_SECONDS_MAX: Final = 300


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark. A quantile of nothing is None: nothing is not fast."""

    speech_to_silence_ms_p50: float | None
    speech_to_silence_ms_p95: float | None
    detector_ms_p50: float | None
    detector_ms_p95: float | None
    speech_to_pause_ms_p95: float | None
    cancel_to_fence_ms_p50: float | None
    cancel_to_fence_ms_p99: float | None
    cancel_to_silence_ms_p95: float | None
    interruptions: int
    interruptions_missed: int
    cancels: int
    cancels_missed: int
    load: int
    load_heard_share: float
    detector: str
    speech: str
    loop: str


def default_detector() -> str:
    """The detector that a pipeline gets which names none, on this machine."""
    kinds = installed()
    return next((name for name in DEFAULTS["vad"] if kinds.state(name) == READY), DEFAULTS["vad"][-1])


def quantile_ms(spans_ns: list[int], share: float) -> float | None:
    """Nearest rank: the smallest span that this share of all does not exceed."""
    known = sorted(span for span in spans_ns if span >= 0)
    if not known:
        return None
    rank = max(1, -int(-share * len(known) // 1))
    return round(known[min(rank, len(known)) - 1] / 1e6, 2)


def result_of(seen: Interrupted, order: Order) -> Result:
    return Result(
        speech_to_silence_ms_p50=quantile_ms(seen.silence_ns, 0.5),
        speech_to_silence_ms_p95=quantile_ms(seen.silence_ns, 0.95),
        detector_ms_p50=quantile_ms(seen.detector_ns, 0.5),
        detector_ms_p95=quantile_ms(seen.detector_ns, 0.95),
        speech_to_pause_ms_p95=quantile_ms(seen.pause_ns, 0.95),
        cancel_to_fence_ms_p50=quantile_ms(seen.cancel_ns, 0.5),
        cancel_to_fence_ms_p99=quantile_ms(seen.cancel_ns, 0.99),
        cancel_to_silence_ms_p95=quantile_ms(seen.cancel_silence_ns, 0.95),
        interruptions=len(seen.silence_ns),
        interruptions_missed=seen.missed,
        cancels=len(seen.cancel_ns),
        cancels_missed=len(seen.cancel_silence_ns) - len(seen.cancel_ns),
        load=order.load,
        load_heard_share=seen.load_heard_share,
        detector=order.detector,
        speech=seen.speech,
        loop=machine.loop_name(),
    )


def run_callers(order: Order) -> Interrupted:
    """One benchmark in processes of its own."""
    encoded = msgspec.json.encode(order).decode()
    words = [sys.executable, "-m", "rspp.cli.bench_interrupt_callers", encoded]
    try:
        done = subprocess.run(words, check=False, capture_output=True, timeout=RUN_SECONDS_MAX)  # noqa: S603 - this program's own module
    except subprocess.TimeoutExpired as late:
        raise click.ClickException("the benchmark did not end") from late
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise click.ClickException(f"the benchmark failed: {said[-1]}")
    return msgspec.json.decode(done.stdout, type=Interrupted)


@click.command(
    name="interrupt",
    epilog="Exit status: 0 measured, whatever the numbers are, 1 a run failed, 2 the command was used wrongly.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--load",
    type=click.IntRange(0, 2_000),
    default=100,
    show_default=True,
    help="Other sessions that talk meanwhile.",
)
@click.option(
    "--interruptions", type=click.IntRange(min=1), default=32, show_default=True, help="By speech, in all."
)
@click.option(
    "--cancels", type=click.IntRange(min=1), default=104, show_default=True, help="By `cancel`, in all."
)
@click.option(
    "--detector", help="The voice activity provider; without it the one a pipeline gets by default."
)
def command(as_json: bool, load: int, interruptions: int, cancels: int, detector: str | None) -> None:
    """Measure interruptions on real WebSockets, with other sessions talking on the same core.

    `speech_to_silence`: from the first frame of speech sent to the last frame of the interrupted answer received, the
    detector's own time (`detector_ms`) and the pipeline's onset time in it. `cancel_to_fence`: from a cancel handed to the
    host to the line told to stop, behind whatever the host has to do for the others.

    \b
    Examples:
        rspp bench interrupt
        rspp bench interrupt --json --load 200
    """
    order = Order(
        load=load,
        interruptions=interruptions,
        cancels=cancels,
        detector=detector or default_detector(),
        core=machine.cores()[0],
    )
    result = result_of(run_callers(order), order)
    if as_json:
        emit_json(result)
    else:
        print_table(("what", "here", "goal"), rows(result), numbers=("here", "goal"))


def rows(result: Result) -> list[tuple[object, ...]]:
    """The result as a table for people."""
    return [
        ("speech to silence, p95, ms", result.speech_to_silence_ms_p95, f"{GOAL_SILENCE_MS:g}"),
        ("  until the detector says so, p95, ms", result.detector_ms_p95, ""),
        ("  until playback is paused, p95, ms", result.speech_to_pause_ms_p95, ""),
        ("cancel to fence, p99, ms", result.cancel_to_fence_ms_p99, f"{GOAL_FENCE_MS:g}"),
        ("cancel to silence at the caller, p95, ms", result.cancel_to_silence_ms_p95, ""),
        ("interruptions", f"{result.interruptions} and {result.interruptions_missed} missed", ""),
        ("cancels", f"{result.cancels} and {result.cancels_missed} missed", ""),
        ("other sessions", result.load, ""),
        ("detector, speech", f"{result.detector}, {result.speech}", ""),
    ]
