"""An engine looks for one kind of fault. It says what it found, what to do about each, and leaves a report that others can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

Level = Literal["quick", "full", "security"]
Verdict = Literal["pass", "fail", "skipped"]


# Among a ground's options: how the names begin of what `rspp verify` itself writes into the folder.
OWN: Final = "own"


class Found(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault: where, what, and what to do."""

    what: str
    fix: str
    where: str = ""  # a file with its line, a session, a package: relative to the ground


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine says. Skipped is what has nothing to look at, and says why: it is no pass."""

    verdict: Verdict
    summary: str
    found: tuple[Found, ...] = ()
    facts: Mapping[str, Any] = {}  # figures, for the report
    files: tuple[Path, ...] = ()  # what it wrote, for whoever wants to look


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What is verified, and how."""

    folder: Path  # the project: a checkout of RSPP itself, or a folder with pipelines, nodes and recordings
    out: Path  # the engine's own folder, for what it writes
    level: Level
    say: Callable[[str], None]  # progress, for a person who waits
    options: Mapping[str, Any] = {}


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the plan. `run` may raise: that is a fault of its own (`engine_broken`), never a pass."""

    key: str  # KEY:ENG.SECRETS
    name: str  # secrets
    summary: str
    levels: frozenset[Level]
    fail_code: str  # what FAIL_CODE says when it fails
    run: Callable[[Ground], Outcome]
    # Where nothing of its kind is in the ground it is not asked for; where this is None it always is.
    applies: Callable[[Ground], bool] | None = None
