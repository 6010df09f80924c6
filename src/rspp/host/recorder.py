"""Recorders: what a session took and did, kept in memory or in a journal file that a kernel can be run from again.

Levels, redaction and export are the timeline's; a recorder here keeps what it is given, up to its bound, and then says no:
a turn whose evidence cannot be kept does not commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.host.ports import Recorder
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.journal import Encoding, encoding_of, write_header, write_input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# A day of turns at four a minute.
EVIDENCE_MAX: Final = 5_760
# About a day of one call's 20 ms frames.
JOURNAL_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
RECORDER_FAILED: Final = "recorder_failed"


class MemoryRecorder:
    """Keeps each turn's evidence and how it was closed; nothing of the inputs."""

    __slots__ = ("_kept", "stamps")

    def __init__(self) -> None:
        self._kept: dict[str, TurnEvidence] = {}
        self.stamps: dict[str, CloseStamp] = {}

    @property
    def turns(self) -> list[TurnEvidence]:
        return list(self._kept.values())

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...
    def took(self, at: int, received: Input) -> None: ...
    def did(self, at: int, effects: Sequence[Effect]) -> None: ...

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        if len(self._kept) >= EVIDENCE_MAX:
            return "recorder_full"
        self._kept[record_id] = evidence
        return None

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self.stamps[record_id] = stamp

    def closed(self) -> None: ...


class BrokenRecorder:
    """In the place of a recorder that has raised: it takes nothing more, and says so to whoever wants evidence kept."""

    __slots__ = ("_broken",)

    def __init__(self, broken: Recorder) -> None:
        self._broken = broken

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...
    def took(self, at: int, received: Input) -> None: ...
    def did(self, at: int, effects: Sequence[Effect]) -> None: ...

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return RECORDER_FAILED

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...

    def closed(self) -> None:
        self._broken.closed()


class JournalRecorder:
    """Writes every input to a journal (see `kernel.journal`), beside the evidence.

    A write that fails makes the next evidence fail, so that no turn commits whose inputs are lost.
    """

    __slots__ = ("_bytes", "_encoding", "_file", "_memory", "_path", "failed")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoding: Encoding = encoding_of(path.name)
        self._memory = MemoryRecorder()
        self._file: IO[bytes] | None = None
        self._bytes = 0
        self.failed: str | None = None

    @property
    def turns(self) -> list[TurnEvidence]:
        return self._memory.turns

    @property
    def stamps(self) -> dict[str, CloseStamp]:
        return self._memory.stamps

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        if self._file is not None:
            return  # told twice: what stands in the journal stays
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        except OSError as error:
            self.failed = f"journal_unwritable:{error.strerror}"
            return
        self._write(write_header(request, graph, self._encoding))

    def took(self, at: int, received: Input) -> None:
        if self._file is None:
            return
        try:
            record = write_input(at, received, self._encoding)
        except (
            ValueError,
            TypeError,
        ) as error:  # text that is no UTF-8, say: it cannot be kept, and that is told
            self.failed = f"journal_unencodable:{type(error).__name__}"
            return
        self._write(record)

    def did(self, at: int, effects: Sequence[Effect]) -> None: ...

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                self.failed = f"journal_unwritable:{error.strerror}"
            except ValueError:
                self.failed = "journal_unwritable:closed"
        return self.failed or self._memory.evidence(record_id, evidence)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._memory.closed_turn(record_id, stamp)

    def closed(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # what was still to be written has no room
                self.failed = f"journal_unwritable:{error.strerror}"

    def _write(self, record: bytes) -> None:
        self._bytes += len(record)
        if self._bytes > JOURNAL_BYTES_MAX:
            self.failed = "journal_full"
        if self.failed is not None or self._file is None:
            return
        try:
            self._file.write(record)
        except OSError as error:
            self.failed = f"journal_unwritable:{error.strerror}"
        except ValueError:  # the file was closed underneath
            self.failed = "journal_unwritable:closed"
