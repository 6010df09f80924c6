"""Any call, recorded in one process, is done again in another one to the same decisions: under another hash seed, from an
exported file, in another folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from rspp.cli.sim_recorder import record
from rspp.contract.evidence import missing_fields
from rspp.contract.words import RecordingLevel
from rspp.media.wav import Sound, write_wav
from rspp.nodes import factories
from rspp.sim.scenario import draw
from rspp.testing.scripted.tts import tone
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs
from tests.e2e.test_listen import SPEC

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# Each file named is replayed by the command itself, all by one process, for starting one takes longer than a replay.
REPLAYS: Final = """
import sys
from rspp.cli.main import main

for file in sys.argv[1:]:
    try:
        main(["replay", file, "--mode", "re-simulate", "--json"])
    except SystemExit as done:
        print("\\0", done.code, flush=True)
"""


def rspp(*arguments: object, cwd: Path, seed: str = "0", script: str | None = None) -> str:
    """What a command prints, in a process of its own that has its own hash seed and folder."""
    what = ["-c", script] if script else ["-m", "rspp.cli.main"]
    done = subprocess.run(
        [sys.executable, *what, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": seed, "RSPP_DATA": str(cwd / "data")},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def replays(folder: Path, cwd: Path, seed: str) -> list[dict[str, Any]]:
    """What `rspp replay --mode re-simulate --json` says of each recording in a folder; each of them ended with 0."""
    files = sorted(folder.glob("*.rspp"))
    *said, rest = rspp(*files, cwd=cwd, seed=seed, script=REPLAYS).split("\0")
    said = [*said, rest]
    codes = [part.split("\n", 1)[0].strip() for part in said[1:]]
    assert codes == ["0"] * len(files)
    bodies = [said[0], *(part.partition("\n")[2] for part in said[1:-1])]
    return [json.loads(body) for body in bodies]


def as_recorded(found: list[dict[str, Any]]) -> tuple[float, float]:
    """Not one of them differs; how long they took then, and how much work they are now."""
    assert [one["divergences"] for one in found] == [0] * len(found)
    assert all(one["digest_recorded"] == one["digest_replayed"] is not None for one in found)
    assert len({one["digest_recorded"] for one in found}) == len(found), "each is a call of its own"
    return sum(one["recorded_seconds"] for one in found), sum(one["cpu_seconds"] for one in found)


def simulated(sessions: int, folder: Path, *more: str) -> None:
    wish = ("--sessions", sessions, "--seed", 404, "--faults", "all", "--record", folder / "calls")
    report = json.loads(rspp("sim", "run", *wish, *more, "--json", cwd=folder, seed="1"))
    assert report["violations"] == []
    assert report["sessions"] == sessions


@pytest.mark.parametrize(
    ("sessions", "more"),
    [(12, ()), pytest.param(60, ("--procs", "2"), marks=pytest.mark.slow)],
    ids=["a-few", "many"],
)
def test_simulated_calls_are_done_again_exactly_by_another_process(
    tmp_path: Path, sessions: int, more: tuple[str, ...]
) -> None:
    simulated(sessions, tmp_path, *more)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = replays(tmp_path / "calls", elsewhere, seed="4242")
    assert len(found) >= sessions
    recorded, cpu = as_recorded(found)
    assert recorded > 15 * sessions
    # The goal is 5 s of work for 1,000 s of call; ten times of it is for machines that are busy.
    assert cpu / recorded * 1_000 < 50


@pytest.mark.slow
def test_a_call_of_the_command_line_is_exported_and_done_again_exactly_elsewhere(tmp_path: Path) -> None:
    """Recorded into one data folder, exported, taken into another one, and there it is the same call."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "desk.yaml").write_text(SPEC)
    write_wav(
        here / "asked.wav", Sound(tone(300, 16_000, 9_000)[: 2 * 16 * 600] + bytes(2 * 16 * 200), 16_000)
    )
    call = json.loads(
        rspp("run", "desk.yaml", "--wav", "asked.wav", "--pace", "max", "--json", cwd=here, seed="1")
    )
    assert [turn["terminal"] for turn in call["turns"]] == ["commit"]
    rspp("export", "last", "--out", there / "call.rspp", cwd=here)
    rspp("import", "call.rspp", cwd=there)
    as_file, in_store = (
        json.loads(rspp("replay", which, "--mode", "re-simulate", "--json", cwd=there, seed=seed))
        for which, seed in (("call.rspp", "7"), ("last", "77"))
    )
    as_recorded([as_file])
    assert in_store["divergences"] == 0
    assert in_store["digest_replayed"] == as_file["digest_replayed"] == as_file["digest_recorded"]


def test_a_recorder_under_pressure_takes_the_same_way_down_in_every_replay() -> None:
    """From L2 to L0, a step at a time: as recorded, and at the same times, twenty times over."""
    made = [record(draw(11, 5, "recorder_pressed"), RecordingLevel.L2)[1][0] for _ in range(2)]
    assert made[0] == made[1], "the same pressure live is the same recording"
    recording = assemble([unframe(made[0])])
    path = [(level.at, level.old, level.new, level.trigger) for level in recording.levels]
    assert [step[1:3] for step in path] == [
        (RecordingLevel.L2, RecordingLevel.L1),
        (RecordingLevel.L1, RecordingLevel.L0),
    ]
    stamps = recording.stamps
    assert len(recording.evidence) > 1
    assert all(not missing_fields(one, stamps.get(name)) for name, one in recording.evidence.items())
    for _ in range(20):
        run = ExactRun(recording, factories(), Mode(outputs=Outputs.RE_SIMULATE))
        while run.step() is not None:
            pass
        changes = [item for item in run.story().items if item.name == "recording_level_downgraded"]
        details = [(item.at, item.facts["detail"]) for item in changes]
        assert [(at, one["old"], one["new"], one["trigger_class"]) for at, one in details] == path
        assert run.comparison.count == 0
