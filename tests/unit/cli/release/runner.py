"""Runs `rspp release` again and again for a test that kills it: each run is a process of its own, born with everything imported.

A line of stdin is a JSON list: at which write to the store it dies (0: at none), and its words. It is answered with the process.
The line after it asks how that ended (below 0: by which signal); until then its number is nobody else's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.release import COMMANDS, command
from rspp.cli.release import commands as _commands  # imported once, before the forks

assert {*COMMANDS} <= {*vars(_commands)}


def dies_at(write: int) -> None:
    """This process is killed as it begins its so-manieth write to the store."""
    count = 0

    def counted(doing: Any) -> Any:
        async def wrapped(*given: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return await doing(*given, **more)

        return wrapped

    for name in ("put", "append", "delete"):
        setattr(SqliteStore, name, counted(getattr(SqliteStore, name)))


def child(write: int, words: list[str], log: Path) -> NoReturn:
    status = 3
    try:
        if write:
            dies_at(write)
        number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(number, 1)
        os.dup2(number, 2)
        command.main(args=words, prog_name="rspp release", standalone_mode=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(log: Path) -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            write, words = json.loads(line)
            child(write, words, log)
        click.echo(pid)
        sys.stdin.readline()
        click.echo(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
