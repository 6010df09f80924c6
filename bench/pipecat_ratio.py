"""CPU an audio frame costs in RSPP's kernel against the same in Pipecat, on this machine, in one run.

    python bench/pipecat_ratio.py [--json] [--frames N] [--rounds R]

Method. Both carry 20 ms frames of 16 kHz PCM, the same number each way, through as many stages as the built-in voice
graph has nodes on its audio path: inbound the source and everything it feeds audio to, outbound the synthesiser and
the sink. In Pipecat a stage is a FrameProcessor that does nothing but pass its frames on (`pipecat_stages.py`); its
metrics, observers and logging are off. RSPP is `rspp bench kernel`, with every check on; its frames also bring a speech
score each, a playback report every fifth, pacing and deadlines, for which Pipecat is charged nothing. CPU is the
process's own. Each runs in a process of its own, in alternating rounds; the ratio is the median of the rounds' ratios.

What is not compared: Pipecat runs on an event loop and hands frames from task to task, RSPP's kernel is called by one;
the host's pump around it is not in these numbers. Pipecat is installed from the ordinary registry into
`bench/.venv-pipecat`, once; without it this says so and exits 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from statistics import median
from typing import Any, Final

from rspp.contract.words import EventKind
from rspp.spec import GraphDefinition, voice_template
from rspp.spec.graph import Role

HERE: Final = Path(__file__).parent
PLACE: Final = HERE / ".venv-pipecat"
PYTHON: Final = PLACE / "bin" / "python"
INSTALL_SECONDS_MAX: Final = 900
RUN_SECONDS_MAX: Final = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--frames", type=int, default=5_000, help="frames each way (5000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are run, in turn (3)")
    arguments = parser.parse_args()
    try:
        install()
        result = compare(arguments.frames, arguments.rounds)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"pipecat_ratio: {explained(error)}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2, sort_keys=True) if arguments.json else table(result))
    return 0


def install() -> None:
    """Make the environment unless it is there and whole."""
    if PYTHON.exists() and _quiet(PYTHON, "-c", "import pipecat").returncode == 0:
        return
    venv.create(PLACE, with_pip=True, clear=True)
    subprocess.run(
        [PYTHON, "-m", "pip", "install", "--quiet", "pipecat-ai"],
        check=True,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS_MAX,
    )


def explained(error: Exception) -> str:
    said = (getattr(error, "stderr", None) or "").strip().splitlines()
    what = "pipecat-ai could not be installed" if "pip" in str(error) else "a run failed"
    return f"{what}: {error}" + (f"\n  {said[-1]}" if said else "")


def compare(frames: int, rounds: int) -> dict[str, Any]:
    """Both, in turn."""
    stages = audio_stages(voice_template())
    ours, theirs = [], []
    version = ""
    for _ in range(rounds):
        theirs.append(carried := pipecat(stages, frames))
        ours.append(rspp(frames))
        version = carried["version"]
    ratios = [their["us"] / our["us_per_frame"] for their, our in zip(theirs, ours, strict=True)]
    return {
        "frames_each_way": frames,
        "rounds": rounds,
        "stages": {"in": stages[0], "out": stages[1]},
        "pipecat_version": version,
        "pipecat_us_per_frame": _median(theirs, "us"),
        "pipecat_us_per_frame_in": _median(theirs, "us_in"),
        "pipecat_us_per_frame_out": _median(theirs, "us_out"),
        "rspp_us_per_frame": _median(ours, "us_per_frame"),
        "rspp_us_per_frame_in": _median(ours, "us_per_frame_in"),
        "rspp_us_per_frame_out": _median(ours, "us_per_frame_out"),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "ratio": round(median(ratios), 2),
    }


def audio_stages(graph: GraphDefinition) -> tuple[int, int]:
    """How many nodes stand on the audio path of a graph, inward and outward."""
    into, out = set[str](), set[str]()
    sources = {node.id for node in graph.nodes if node.role is Role.SOURCE}
    sinks = {node.id for node in graph.nodes if node.role is Role.SINK}
    for edge in graph.edges:
        if EventKind.AUDIO in edge.kinds:
            into.update({edge.source, edge.target} if edge.source in sources else ())
            out.update({edge.source, edge.target} if edge.target in sinks else ())
    return len(into), len(out)


def pipecat(stages: tuple[int, int], frames: int) -> dict[str, Any]:
    """One round of Pipecat."""
    found = json.loads(_run(PYTHON, HERE / "pipecat_stages.py", *stages, frames))
    into, out = found["in_ns"] / frames / 1000, found["out_ns"] / frames / 1000
    return {"version": found["version"], "us": (into + out) / 2, "us_in": into, "us_out": out}


def rspp(frames: int) -> dict[str, Any]:
    """One round of ours."""
    found: dict[str, Any] = json.loads(
        _run(sys.executable, "-m", "rspp.cli.main", "bench", "kernel", "--json", "--frames", frames)
    )
    return found


def _run(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True, timeout=RUN_SECONDS_MAX
    )
    return done.stdout.splitlines()[-1] if "pipecat" in str(words[1]) else done.stdout


def _quiet(*words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(word) for word in words], check=False, capture_output=True, timeout=RUN_SECONDS_MAX
    )


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return round(float(median(run[key] for run in runs)), 2)


def table(result: dict[str, Any]) -> str:
    rows = [
        ("us of CPU a frame", "Pipecat " + result["pipecat_version"], "RSPP"),
        *(
            (name, f"{result[f'pipecat_{key}']:.2f}", f"{result[f'rspp_{key}']:.2f}")
            for name, key in (
                (f"in, {result['stages']['in']} stages", "us_per_frame_in"),
                (f"out, {result['stages']['out']} stages", "us_per_frame_out"),
                ("both ways", "us_per_frame"),
            )
        ),
    ]
    lines = [f"{what:<20}{theirs:>16}{ours:>10}" for what, theirs, ours in rows]
    return "\n".join([*lines, f"ratio {result['ratio']} (rounds: {', '.join(map(str, result['ratios']))})"])


if __name__ == "__main__":
    sys.exit(main())
