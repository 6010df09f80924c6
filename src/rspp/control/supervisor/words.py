"""What supervisor and child tell each other: one JSON object a line over a socket pair. Neither trusts a line's length."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rspp.host.meters import Reading

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
BEAT_MS: Final = 250
REASON_MAX: Final = 200  # of each reason's characters
REASONS_MAX: Final = 16


class Word(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """One line."""


# ---- from the supervisor --------------------------------------------------------------------------------------------


class Assign(Word, frozen=True, tag="assign"):
    """The first line: who the child is, what it inherits, and what it is to serve (whoever starts it knows the shape)."""

    name: str  # of this one process; every membership that it ever has begins with it
    slot: int
    listening_fd: int
    shared_url: str
    parent_pid: int
    on_stop: str  # drain, migrate: what it does when it is told to end by a signal of its own
    drain_ms: int
    work: dict[str, Any]


class Accept(Word, frozen=True, tag="accept"):
    """Take calls from the shared socket, or leave them to the others."""

    on: bool


class Drain(Word, frozen=True, tag="drain"):
    """Take nobody new, let go of what runs (`drain`: heard out; `migrate`: taken elsewhere), and end."""

    mode: str
    deadline_ms: int


class Measure(Word, frozen=True, tag="measure"):
    number: int


# ---- from the child -------------------------------------------------------------------------------------------------


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process says of itself."""

    ready: bool = False
    draining: bool = False
    reasons: tuple[str, ...] = ()  # why it is not ready
    sessions: int = 0
    capacity: int = 0
    load: float = 0.0
    lag_ms: float = 0.0  # how late its loop is
    cpu_s: float = 0.0

    @property
    def full(self) -> bool:
        return self.sessions >= self.capacity


class Started(Word, frozen=True, tag="started"):
    """It serves; `endpoint` is its own address."""

    endpoint: str


class Beat(Word, frozen=True, tag="beat"):
    state: State


class Measured(Word, frozen=True, tag="measured"):
    number: int
    reading: Reading


class Ending(Word, frozen=True, tag="ending"):
    """The last line of an orderly end: how many sessions were cut short, and which it gave away."""

    cut: int = 0
    moved: int = 0


class Failed(Word, frozen=True, tag="failed"):
    """It cannot serve, and says why. Starting it again without a change would not help if it is `final`."""

    why: str
    final: bool = False


ToChild = Assign | Accept | Drain | Measure
FromChild = Started | Beat | Measured | Ending | Failed

decode_to_child: Final = msgspec.json.Decoder(ToChild).decode
decode_from_child: Final = msgspec.json.Decoder(FromChild).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def line(word: Word) -> bytes:
    return _ENCODE(word) + b"\n"
