"""Calls are recorded unless somebody says not to: the options, and all that stands behind a host for it.

    host -> Recorders -> Spool (segments in the data folder) -> Exporter -> the store of the data folder

At the end what is sealed is exported, within a deadline; what is left then waits in the folder for the next process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.data_folder import data_folder
from rspp.cli.output import write_bytes
from rspp.cli.recordings import (
    STORE_FILE,
    STORE_VARIABLE,
    Where,
    in_library,
    own_policy,
    store_at,
)
from rspp.contract.errors import RsppError
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.words import RecordingLevel
from rspp.host.conditions import Conditions
from rspp.host.host import RecorderFactory
from rspp.host.meters import Meters
from rspp.host.overhead import FILE_NAME, FileSink, Sink
from rspp.host.ports import EVIDENCE_LATER, Recorder, Stepped, Store, Tell, TellsSession, WatchesNodes
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import EvidenceStored, Input
from rspp.kernel.journal import Encoding, encoding_of, write_header, write_input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition
from rspp.timeline import catalogue
from rspp.timeline.audit import AuditLog
from rspp.timeline.catalogue import encoded
from rspp.timeline.export import SURFACE as EXPORT
from rspp.timeline.export import Exporter
from rspp.timeline.library import Library
from rspp.timeline.ports import Redactor
from rspp.timeline.recorders import Recorders, Sampling
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.policy import load as load_policy
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.retention import Retention, in_force
from rspp.timeline.spool import SURFACE as RECORDINGS
from rspp.timeline.spool import Hand, Spool, SpoolSettings
from rspp.timeline.writer import Threaded

log = logging.getLogger("rspp.recorded")

OFF: Final = "off"
LEVELS: Final = (OFF, *(level.value for level in RecordingLevel))
DEFAULT: Final = RecordingLevel.L1
EXPORT_MS: Final = 10_000
MB: Final = 1024 * 1024
DISK_MB: Final = SpoolSettings().kept_bytes_max / MB
SESSIONS_NAMED: Final = 10_000
SWEEP_EVERY_S: Final = 600.0
WAY_OUT: Final = "Make it writable, name another one with --data, or record nothing with --record-level off."

Command = TypeVar("Command", bound=Callable[..., Any])
Told = Callable[[str], None]
Opened = tuple[str, str]  # tenant, session


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants recorded, and where. `level` None is what the pipeline says, else L1."""

    data: Path
    level: str | None = None
    sample: float = 1.0
    policy: RedactionPolicy = RedactionPolicy()
    store: str | None = None  # where recordings are exported to, if not into the data folder
    disk_mb: float = DISK_MB  # what may wait here for its export; then no more detail is recorded

    @property
    def on(self) -> bool:
        return self.level != OFF

    @property
    def asked(self) -> RecordingLevel | None:
        """The level that was asked for, whatever the pipeline says."""
        return RecordingLevel(self.level) if self.level and self.on else None

    @property
    def unstated(self) -> RecordingLevel | None:
        """The level of a pipeline that states none; None leaves it alone."""
        return DEFAULT if self.on else None


_OPTIONS: Final = (
    click.option(
        "--recordings",
        metavar="URL",
        envvar=STORE_VARIABLE,
        help="Export recordings to this store, and not into the data folder.",
    ),
    click.option(
        "--disk-mb",
        type=click.FloatRange(min=0.01),
        default=DISK_MB,
        show_default=True,
        help="So much may wait on this disk for its export; beyond it no more detail is recorded.",
    ),
    click.option(
        "--redaction",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="What may be kept, as YAML; without it the contract's table, personal data masked.",
    ),
    click.option(
        "--sample",
        type=click.FloatRange(0, 1),
        default=1.0,
        show_default=True,
        help="Share of sessions that are recorded.",
    ),
    click.option(
        "--record-level",
        type=click.Choice(LEVELS),
        help="How much is recorded: off, L0 evidence, L1 inputs, L2 sound. Else what the pipeline says, else L1.",
    ),
    click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where recordings go; else $RSPP_DATA, else .rspp here.",
    ),
)


def record_options(command: Command) -> Command:
    """`--data`, `--record-level`, `--sample`, `--redaction`, `--disk-mb`, `--recordings`: given to the command as one `choice`."""

    def wrapped(
        *arguments: Any,
        data: Path | None,
        record_level: str | None,
        sample: float,
        redaction: Path | None,
        recordings: str | None,
        disk_mb: float,
        **more: Any,
    ) -> Any:
        choice = Choice(
            data=data_folder(data),
            level=record_level,
            sample=sample,
            policy=_policy(redaction),
            store=recordings,
            disk_mb=disk_mb,
        )
        return command(*arguments, choice=choice, **more)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in _OPTIONS:
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # as it was, with six options more


def _policy(path: Path | None) -> RedactionPolicy:
    if path is None:
        return RedactionPolicy()
    try:
        return load_policy(path)
    except RsppError as error:
        raise click.UsageError(f"--redaction {path}: {error.message}") from error


def check(choice: Choice) -> None:
    """The data folder can be written to; else a usage error that says the way out, before the first call and not in it."""
    if not choice.on:
        return

    async def main() -> None:
        store = SqliteStore(choice.data / STORE_FILE)
        try:
            await store.delete(catalogue.BUCKET, "probe")
            spool = Spool(choice.data)
            spool.start()
            await spool.close()
        finally:
            await store.close()

    try:
        in_force(own_policy(choice.data))
    except RsppError as error:
        raise click.UsageError(error.message) from error
    try:
        choice.data.mkdir(parents=True, exist_ok=True)
        asyncio.run(main())
    except (RsppError, OSError) as error:
        why = error.message if isinstance(error, RsppError) else error.strerror or str(error)
        raise click.UsageError(f"nothing can be recorded in {choice.data}: {why}. {WAY_OUT}") from error


# ---- beside a host -----------------------------------------------------------------------------------------------


class Recorded:
    """Recorders for a host. `start` it in the host's loop; `finish` it when the host has stopped."""

    def __init__(
        self,
        choice: Choice,
        *,
        origin: str = "run",
        hand: Hand = Threaded,
        guarded: Callable[[Store], Store] = lambda store: store,
        keeps: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`guarded` may stand before the store, and refuse what must not be written there.

        `keeps` says of a tenant whether its sessions may be recorded here: of others not even the spool has anything.
        """
        self._choice, self._guarded = choice, guarded
        self._spool = Spool(choice.data, SpoolSettings(kept_bytes_max=int(choice.disk_mb * MB)), hand=hand)
        self._recorders = Recorders(
            self._spool, self._redactor, Sampling(rate=choice.sample), origin=origin, keeps=keeps
        )
        self.opened: deque[Opened] = deque(maxlen=SESSIONS_NAMED)  # the sessions that were recorded
        self.exporter: Exporter | None = None
        self._store: Store | None = None
        self._tasks: list[asyncio.Task[None]] = []  # bounded: the export's and the retention's
        self.sweep_every_s = SWEEP_EVERY_S

    @property
    def recorders(self) -> RecorderFactory:
        return self._recorders if self._choice.on else lambda _: MemoryRecorder()

    @property
    def overhead(self) -> Sink | None:
        """Where the host's meter of the kernel writes: beside the recordings."""
        return FileSink(self._choice.data / FILE_NAME) if self._choice.on else None

    def say(self, conditions: Conditions) -> None:
        """How recording and export fare here, for whoever looks at the whole."""
        if self._choice.on:
            conditions.add(RECORDINGS.name, self._spool.rows)
        if self.exporter is not None:
            conditions.add(EXPORT.name, self.exporter.rows)

    def count_in(self, meters: Meters) -> None:
        """Show with a host's figures how the export goes."""
        retries = meters.counter("durable_export_retries_total")
        failures = meters.counter("durable_export_failures_total")

        def gather() -> None:
            if self.exporter is not None:
                told = self.exporter.meters
                retries.value = told.durable_export_retries_total
                failures.value = sum(told.durable_export_failures_total.values())

        def of(name: str) -> float:
            return 0.0 if self.exporter is None else getattr(self.exporter.meters, name)

        meters.before(gather)
        meters.gauge("durable_export_queue_depth", lambda: of("durable_export_queue_depth"))
        meters.gauge("durable_export_lag_ms", lambda: of("durable_export_lag_ms"))

    def _redactor(self, request: OpenRequest, _: GraphDefinition) -> Redactor:
        """Asked for whenever a recording begins."""
        self.opened.append((request.tenant_id, request.session_id))
        return SessionRedactor(self._choice.policy, request.tenant_id)

    async def start(self, *, export: bool = True) -> None:
        """`export` False leaves that to `export_rest`: where time is virtual no store can be waited for."""
        if not self._choice.on:
            return
        self._spool.start()
        if export:
            url = self._choice.store
            own = SqliteStore(self._choice.data / STORE_FILE) if url is None else store_at(url)
            self._store = self._guarded(own)
            self.exporter = Exporter(self._store, self._spool)
            self._spool.on_sealed = self.exporter.sealed
            await self.exporter.adopt()
            loop = asyncio.get_running_loop()
            for name, work in (("export", self.exporter.run()), ("retention", self._sweep(self._store))):
                task = loop.create_task(work, name=name)
                task.add_done_callback(_ended)
                self._tasks.append(task)

    async def _sweep(self, store: Store) -> None:
        """What is due is deleted as long as somebody is there to do it."""
        while True:
            await asyncio.sleep(self.sweep_every_s)
            try:
                await self._swept(store)
            except RsppError as error:
                log.warning("what is due is not deleted: %s", error.message)

    async def _swept(self, store: Store) -> int:
        rules = await asyncio.to_thread(lambda: in_force(own_policy(self._choice.data)))
        swept = await Retention(store, rules, AuditLog(store, wall_ms=_wall_ms)).sweep(_wall_ms())
        if swept:
            log.info("%d recordings were due and are deleted or cut", len(swept))
        return len(swept)

    async def sweep(self) -> int:
        """Delete what is due now, and not with the next round; how many recordings that were."""
        return 0 if self._store is None else await self._swept(self._store)

    async def give_up(self, by: str) -> AsyncIterator[str]:
        """Delete what waits for its export, part by part, on record; whoever asks for that loses it for good."""
        if self._store is None or self.exporter is None:
            return
        audit = AuditLog(self._store, wall_ms=_wall_ms)
        for segment in list(self._spool.sealed()):
            facts = {"session": segment.session_id, "part": segment.part}
            how = {"tenant_id": segment.tenant_id, "principal_id": by, "reason": "requested"}
            await audit.append("give_up_export", "allow", **how, facts=facts)
            await self.exporter.give_up(segment)
            await audit.append("give_up_export", "done", **how, facts=facts)
            yield segment.part

    async def finish(self, told: Told = lambda _: None, deadline_ms: int = EXPORT_MS) -> int:
        """Export what is sealed; how many segments wait for the next process."""
        if not self._choice.on:
            return 0
        await self._spool.drained()
        left = 0
        if self.exporter is not None:
            if self._spool.sealed():
                told("exporting recordings")
            left = await self.exporter.drain(deadline_ms)
            told("")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._spool.close()
        if self._store is not None:
            await self._store.close()
        if left:
            told(f"{left} parts of recordings are not in the store yet; the next start exports them")
            told("")
        return left


def _ended(task: asyncio.Task[None]) -> None:
    """Such a task only ends when it is told to: anything else is our fault, and is said."""
    if not task.cancelled() and task.exception() is not None:
        log.error("the task %s has ended", task.get_name(), exc_info=task.exception())


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def export_rest(choice: Choice, told: Told = lambda _: None) -> int:
    """Export what processes that are no more have left, this one's former loop included; how much is left."""

    async def main() -> int:
        recorded = Recorded(choice)
        await recorded.start()
        return await recorded.finish(told)

    return asyncio.run(main()) if choice.on else 0


# ---- copies as files ---------------------------------------------------------------------------------------------


def copy(choice: Choice, tenant_id: str, session_id: str, path: Path) -> None:
    """A recording as a file: whole for .rspp; for .jsonl its inputs, to be read, or fed to a kernel."""
    where = Where(data=choice.data, store=choice.store)

    async def raw(library: Library) -> bytes:
        return await library.raw(await library.find(session_id, tenant_id))

    data = in_library(where, raw)
    encoding = encoding_of(path.name)
    if encoding is Encoding.JSON:
        recording = assemble([unframe(data)])
        head = recording.head
        lines = [write_header(head.request, head.graph, encoding)]
        lines += [write_input(at, received, encoding) for at, received in recording.input_list()]
        data = b"".join(lines)
    write_bytes(path, data)


def copy_all(choice: Choice, sessions: Iterable[Opened], folder: Path) -> None:
    """The same for many, each under its session's name."""
    for tenant_id, session_id in sessions:
        copy(choice, tenant_id, session_id, folder / f"{encoded(session_id)}.rspp")


# ---- evidence to look at -------------------------------------------------------------------------------------------


class Witness:
    """A recorder before another one, which remembers the evidence for the report at the end of the call."""

    def __init__(self, recorder: Recorder) -> None:
        self._memory = MemoryRecorder()
        self._asked: dict[str, TurnEvidence] = {}  # bounded: by the answers that the host owes
        self._recorder = recorder

    @property
    def turns(self) -> list[TurnEvidence]:
        return self._memory.turns

    @property
    def stamps(self) -> dict[str, CloseStamp]:
        return self._memory.stamps

    def attach(self, tell: Tell) -> None:
        if isinstance(self._recorder, TellsSession):
            self._recorder.attach(tell)

    def stepped(self, step: Stepped) -> None:
        if isinstance(self._recorder, WatchesNodes):
            self._recorder.stepped(step)

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self._recorder.opened(request, graph)

    def took(self, at: int, received: Input) -> None:
        if type(received) is EvidenceStored:
            asked = self._asked.pop(received.record_id, None)
            if asked is not None and received.ok:
                self._memory.evidence(received.record_id, asked)
        self._recorder.took(at, received)

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        self._recorder.did(at, effects)

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        why = self._recorder.evidence(record_id, evidence)
        if why in (None, EVIDENCE_LATER):
            self._asked[record_id] = evidence
        return why

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._memory.closed_turn(record_id, stamp)
        self._recorder.closed_turn(record_id, stamp)

    def closed(self) -> None:
        self._recorder.closed()
