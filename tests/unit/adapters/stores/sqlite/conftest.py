"""A file for a store, and other processes that use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Started = subprocess.Popen[str]
Spawn = Callable[..., Started]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts `child.py` in a role; whoever is left at the end is killed."""
    started: list[Started] = []

    def start(*words: object) -> Started:
        command = [sys.executable, str(Path(__file__).with_name("child.py")), *map(str, words)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go(process: Started) -> None:
    """What it waits for has come."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


async def line(process: Started) -> str:
    """The next line that the process says; empty at its end."""
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await asyncio.to_thread(process.stdout.readline)).strip()
