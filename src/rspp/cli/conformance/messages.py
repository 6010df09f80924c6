"""What goes between the command and the process in which a target runs: one request in, then a line for each thing that happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

import msgspec

from rspp.testing.conformance.certificate import Name, Subject
from rspp.testing.conformance.checks import Result

SQLITE: Final = "sqlite://"
LINE_BYTES_MAX: Final = 1 << 20
REASON_CHARACTERS_MAX: Final = 2_000


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a suite. `purpose` look: only say what the target is; trace: only play a node's script."""

    port: str
    target: str
    purpose: Literal["run", "look", "trace"] = "run"
    folder: str  # where modules are looked for first
    scratch: str  # for what a target writes
    settings: Mapping[str, object] = {}
    trial: Mapping[str, str] = {}
    limits: Mapping[str, float] = {}
    pipeline: str = ""
    only: tuple[str, ...] = ()
    allow_used: bool = False
    namespace: str = "conformance"  # what a store's streams begin with
    virtual: bool = False
    seed: int = 1
    check_s_max: float = 60.0


def file_of(target: str) -> Path | None:
    """The file of a sqlite address."""
    return Path(unquote(target[len(SQLITE) :])) if target.startswith(SQLITE) else None


class Made(msgspec.Struct, frozen=True, kw_only=True, tag="made"):
    """The target is there, and these are its checks."""

    port: str
    subject: Subject
    names: tuple[Name, ...]
    options: tuple[str, ...] = ()
    limits: Mapping[str, float] = {}
    looser: tuple[str, ...] = ()


class Began(msgspec.Struct, frozen=True, tag="began"):
    number: int


class Came(msgspec.Struct, frozen=True, tag="came"):
    number: int
    result: Result


class Wrong(msgspec.Struct, frozen=True, tag="wrong"):
    """It is no target for this port: the command was used wrongly."""

    code: str
    message: str


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """It is meant as a target, and cannot be loaded or made."""

    reason: str
    subject: Subject


class Played(msgspec.Struct, frozen=True, tag="played"):
    digest: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The suite came to its end."""


Message = Made | Began | Came | Wrong | Broken | Played | Done
