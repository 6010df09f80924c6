"""A process that is killed leaves everything that it acknowledged, and a tail that is cut cleanly."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from rspp.timeline.records import unframe
from rspp.timeline.segments import Segment, dead
from tests.unit.timeline.spooling import leftovers, recordings_in

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

CHILD = "tests.unit.timeline.crash_child"
# How much a process has said before it is killed, and how much longer it lives: a random point, and not before it did anything.
WORDS_MAX = 12
ALIVE_S_MAX = 0.03


class Child:
    """A recording process."""

    def __init__(self, data: Path, seed: int) -> None:
        self.data = data
        self._process = subprocess.Popen(
            [sys.executable, "-m", CHILD, str(data), str(seed)], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self._said: list[bytes] = []

    def says(self, count: int) -> None:
        """Wait until it has acknowledged so many things."""
        assert self._process.stdout is not None
        self._said += [self._process.stdout.readline() for _ in range(count)]

    def killed(self) -> list[list[str]]:
        """Kill it where it stands; what it had said by then."""
        assert self._process.stdout is not None
        os.kill(self._process.pid, 9)
        lines = (b"".join(self._said) + self._process.stdout.read()).decode().splitlines()
        self._process.stdout.close()
        self._process.wait()
        return [line.split() for line in lines if len(line.split()) == 3]


def crash(data: Path, seed: int, words: int, alive_s: float) -> tuple[int, int]:
    """One round; how many segments were left, and how many turns had committed."""
    child = Child(data, seed)
    child.says(words)
    time.sleep(alive_s)  # a random point of its life, not a wait for anything
    assert leftovers(data) == [], "it lives"
    said = child.killed()
    for folder in dead(data):
        segments = folder.segments()
        assert segments == folder.segments(), "cut once, and nothing is left to cut"
        whole(segments)
        os.close(folder._lock)
    found = recordings_in(data)
    committed = 0
    for what, session_id, name in said:
        recording = found[session_id]
        if what == "kept":
            committed += 1
            assert name in recording.evidence, "a turn has committed, and its evidence is not there"
        else:
            assert recording.complete_through >= int(name), "detail was acknowledged, and is not there"
    for recording in found.values():
        assert recording.gaps == []
        assert recording.complete_through == len(recording.inputs), "the tail is cut, the middle whole"
    return len(leftovers(data)), committed


def whole(segments: list[Segment]) -> None:
    numbers = defaultdict(list)
    for segment in segments:
        data = segment.path.read_bytes()
        frames = unframe(data)
        assert (segment.damaged, frames.torn, len(data)) == (None, False, segment.size)
        numbers[segment.run].append(segment.number)
    for run in numbers.values():
        assert run == list(range(1, len(run) + 1)), "no part is missing between others"


def rounds(tmp_path: Path, count: int, seed: int) -> None:
    draws = random.Random(seed)
    total = [0, 0]
    for number in range(count):
        data = tmp_path / str(number)
        words, alive_s = draws.randrange(WORDS_MAX), draws.random() * ALIVE_S_MAX
        segments, committed = crash(data, draws.randrange(1 << 30), words, alive_s)
        total[0] += segments
        total[1] += committed
        shutil.rmtree(data)
    assert min(total) > count, "the processes were killed before they did anything"


def test_kill_9_at_random_points_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rounds(tmp_path, 5, seed=1)


@pytest.mark.long
@pytest.mark.slow
def test_kill_9_a_great_many_times_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Each child is four sessions that are killed at once: fifty children are two hundred recordings cut off."""
    rounds(tmp_path, 50, seed=2)
