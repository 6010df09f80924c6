"""How many conversations one core carries: RSPP's host against Pipecat, on this machine, in one run.

    python bench/pipecat_sessions.py [--json] [--seconds S] [--sessions N --pipecat-sessions M] [--python PYTHON]

Both carry the same load on one core in one process: every caller sends a 20 ms frame every 20 ms, and hears sound without
end from a scripted synthesiser that gives it in chunks of 100 ms. The largest number of sessions is looked for with p99 frame
lateness under 20 ms, each size in a process of its own (`rspp bench sessions` in process; `pipecat_talk.py`), and the
ratio is that of the two numbers. Both run on uvloop.

What is compared: sessions carried, callers included. RSPP's side has a scripted voice detector, end of turn and recogniser
at work, a turn with its evidence, pacing and delivery reports; Pipecat's has default settings and stages that pass frames
on. Neither has a network or a model. Pipecat's output writes 40 ms at a time, its default; frames are counted as 20 ms.

Pipecat is installed from the ordinary registry into `bench/.venv-pipecat`, once, unless `--python` names an interpreter that
has it; without it this says so and exits 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
from pipecat_ratio import HERE, INSTALL_SECONDS_MAX, PYTHON, explained, install

from rspp.cli import bench_machine as machine
from rspp.cli.bench_load import Measured, Order
from rspp.cli.bench_sessions import MODULES, Figures, figures, run_child, search

PIPECAT_LOOK: Final = 20
RUN_SECONDS_SLACK: Final = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each size is measured (3)")
    parser.add_argument("--sessions", type=int, help="measure RSPP at this size only")
    parser.add_argument("--pipecat-sessions", type=int, help="measure Pipecat at this size only")
    parser.add_argument("--python", type=Path, help="an interpreter that has Pipecat")
    arguments = parser.parse_args()
    try:
        python = arguments.python or _installed()
        result = compare(python, arguments.seconds, arguments.sessions, arguments.pipecat_sessions)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"pipecat_sessions: {explained(error)}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2, sort_keys=True) if arguments.json else table(result))
    return 0


def _installed() -> Path:
    """Pipecat's environment, with the faster loop: what is compared should not be two event loops."""
    install()
    if subprocess.run([PYTHON, "-c", "import uvloop"], check=False, capture_output=True).returncode:
        words = [PYTHON, "-m", "pip", "install", "--quiet", "uvloop"]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX)
    return PYTHON


def compare(python: Path, seconds: float, ours: int | None, theirs: int | None) -> dict[str, Any]:
    """One after the other, each at the sizes that it takes to find its largest."""
    core = machine.cores()[0]
    version = ""

    def pipecat(size: int) -> Measured:
        nonlocal version
        words = [str(word) for word in (python, HERE / "pipecat_talk.py", size, seconds, core)]
        done = subprocess.run(
            words,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds + size * 0.05 + RUN_SECONDS_SLACK,
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        version = found.pop("version")
        return msgspec.convert(found, Measured)

    def rspp(size: int) -> Measured:
        return run_child(MODULES["in_process"], Order(sessions=size, seconds=seconds, core=core))

    carried = figures([pipecat(theirs)] if theirs else search(pipecat, PIPECAT_LOOK))
    mine = figures([rspp(ours)] if ours else search(rspp))
    return {
        "pipecat_version": version,
        "loop": machine.loop_name(),
        "pipecat": told(carried),
        "rspp": told(mine),
        "ratio_sessions": _ratio(mine.sessions_per_core, carried.sessions_per_core),
        "ratio_cpu_per_frame": _ratio(carried.cpu_us_per_frame, mine.cpu_us_per_frame),
    }


def told(found: Figures) -> dict[str, Any]:
    kept: dict[str, Any] = msgspec.to_builtins(found)
    runs = kept.pop("runs")
    share = kept["cpu_share"] / max(1, kept["sessions_per_core"] or runs[0]["sessions"])
    return {**kept, "cpu_percent_per_session": round(100 * share, 3)}


def _ratio(more: float | None, less: float | None) -> float | None:
    return round(more / less, 2) if more and less else None


def table(result: dict[str, Any]) -> str:
    theirs, ours = result["pipecat"], result["rspp"]
    keys = (
        ("sessions a core", "sessions_per_core"),
        ("lateness p99, ms", "lateness_ms_p99"),
        ("CPU a frame, us", "cpu_us_per_frame"),
        ("% of a core a session", "cpu_percent_per_session"),
        ("memory a session, bytes", "rss_bytes_per_session"),
    )
    lines = [f"{'':<26}{'Pipecat ' + result['pipecat_version']:>16}{'RSPP':>12}"]
    lines += [f"{name:<26}{theirs[key]!s:>16}{ours[key]!s:>12}" for name, key in keys]
    return "\n".join(
        [
            *lines,
            f"ratio of sessions {result['ratio_sessions']}, of CPU a frame {result['ratio_cpu_per_frame']}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
