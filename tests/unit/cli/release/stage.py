"""A release on a stage of its own: a pipeline of nothing real, a corpus of one call, a gate report, a store on the disk."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.control.asking import Whom
from rspp.cli.release import beginning, command
from rspp.cli.release.driving import Driver
from rspp.cli.release.finishing import compared
from rspp.cli.release.going import Ended, go
from rspp.cli.release.ground import Asked
from rspp.cli.release.plane import asks
from rspp.cli.release.settings import FILE, Settings, read
from rspp.cli.release.steps import StepName
from rspp.cli.release.work import Work
from rspp.contract.event import NS_PER_MS, Signal
from rspp.control.fleet.status_writer import StatusWriter
from rspp.control.plane import ControlPlane, opened_plane
from rspp.control.security.audit_view import AuditQuery, page
from rspp.kernel.snapshot import ClockAnchor, OpenRequest
from rspp.sim.scenario import APOLOGY, draw
from rspp.spec import DEFAULT_PROVIDERS, compile_text
from rspp.timeline.audit import AuditRecord
from rspp.timeline.gates.judge import Judge
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.gates.load import usual

TENANT = "acme"
PIPELINE = "voice"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def spec_text(version: str, **more: Any) -> str:
    """The pipeline of the call in the corpus, as this version."""
    knobs = draw(7, 0, "none").knobs
    policies = {
        "turn_taking": {"interruption": knobs.interruption, "speculation": knobs.speculation},
        "overlap": knobs.overlap,
        "error_reply": {"text": APOLOGY if knobs.apology else ""},
        "degrade_on": ["tts"] if knobs.degrade_tts else [],
        "late_events": knobs.late_events,
    }
    spec: dict[str, Any] = {
        "pipeline": PIPELINE,
        "version": version,
        "template": "voice",
        "policies": policies,
    }
    spec["providers"] = {name: list(ids) for name, ids in DEFAULT_PROVIDERS.items()}
    return json.dumps({**spec, **more}, indent=1)


@lru_cache(maxsize=1)
def _report() -> bytes:
    judge = Judge()
    for data in usual():
        judge.take(assemble([unframe(data)]))
    return msgspec.json.encode(judge.report(now_ms()))


class Stage:
    """Everything that a release needs, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.corpus = folder / "corpus"
        self.corpus.mkdir(parents=True)
        (self.corpus / "call.rspp").write_bytes(simulated_bytes(7, 0))
        self.gates = folder / "gates.json"
        self.gates.write_bytes(_report())
        self.url = f"sqlite:///{folder / 'control.db'}"
        self.keys = folder / "keys"
        self.said: list[str] = []
        self.offset_ms = 0

    def spec(self, version: str = "v1", **more: Any) -> Path:
        path = self.folder / f"{version}.json"
        path.write_text(spec_text(version, **more))
        return path

    def wall_ms(self) -> int:
        return now_ms() + self.offset_ms

    def begin(self, version: str = "v1", **more: Any) -> Path:
        """The folder of a release that observes for a moment and is content with what it sees."""
        spec = self.folder / f"{version}.json"
        usual_ones = {
            "observe_ms": 50,
            "every_ms": 10,
            "sessions_min": 0,
            "tenants": (TENANT,),
            "gates": str(self.gates),
            "any_gates": True,
        }
        settings = beginning.settings_for(
            spec if spec.exists() else self.spec(version),
            self.corpus,
            self.wall_ms(),
            **{**usual_ones, **more},
        )
        return beginning.begun(self.data, settings)

    @contextmanager
    def driver(self, folder: Path, asked: Asked | None = None, **more: Any) -> Iterator[Driver]:
        settings = read(folder)
        keys = self.keys if self.keys.exists() else None
        with asks(Whom(store=self.url, keys=keys)) as plane:
            work = Work(folder, settings.root, wall_ms=self.wall_ms, **more)
            work.create(settings.session)
            yield Driver(
                work,
                settings,
                plane,
                wall_ms=self.wall_ms,
                sleep=time.sleep,
                say=self.said.append,
                asked=asked or Asked(),
            )

    def go(
        self, folder: Path, asked: Asked | None = None, stop_after: StepName | None = None, **more: Any
    ) -> Ended:
        with self.driver(folder, asked) as driver:
            return go(driver, stop_after=stop_after, **more)

    # ---- what there is ---------------------------------------------------------------------------------------------

    def settings(self, folder: Path) -> Settings:
        return read(folder)

    def work(self, folder: Path) -> Work:
        return Work(folder, read(folder).root, wall_ms=self.wall_ms)

    def differences(self, folder: Path) -> tuple[str, ...]:
        with self.driver(folder) as driver:
            so_far = driver.work.attempts()
            found = compared(driver.plane, driver.settings, driver.work.folder, so_far)
        assert found.seen
        return found.differences

    def audit(self, action: str | None = None, decision: str | None = "done") -> list[AuditRecord]:
        async def read_all(plane: ControlPlane) -> list[AuditRecord]:
            found = await page(plane.store, AuditQuery(action=action, decision=decision, limit=1_000))
            return [one.record for one in found.entries][::-1]

        found: list[AuditRecord] = self.plane(read_all)
        return found

    def ask(self, name: str, **fields: Any) -> Any:
        with asks(Whom(store=self.url)) as plane:
            return plane.ask(name, **fields)

    def plane(self, doing: Any) -> Any:
        async def main() -> Any:
            async with opened_plane(self.url) as plane:
                return await doing(plane)

        return asyncio.run(main())

    def plant(self, version: str, ends: Sequence[tuple[str, int]], name: str = "s") -> None:
        """Sessions of a version that opened a minute from now and have ended so: (reason, turns); by the real writer."""

        async def main() -> None:
            store = SqliteStore(self.folder / "control.db")
            clock = Ahead(60_000)
            writer = StatusWriter(store, clock, owner=lambda: "w-1")
            graph = compile_text(spec_text(version))
            for number, (reason, turns) in enumerate(ends):
                session = f"{name}-{number}"
                writer.opened(request_of(session, clock), graph)
                writer.heard(session, Signal("connected", "lifecycle"))
                for _ in range(turns):
                    writer.heard(session, Signal("turn_open", "lifecycle"))
                if reason:
                    writer.over(session, reason)
            assert await writer.flush(5) == 0
            await store.close()

        asyncio.run(main())


class Ahead:
    """A clock that goes before: what is planted now belongs to a release that begins a moment later."""

    def __init__(self, ms: int) -> None:
        self._ns = ms * NS_PER_MS

    def now(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> int:
        return time.time_ns() + self._ns


def request_of(session: str, clock: Ahead) -> OpenRequest:
    return OpenRequest(
        session_id=session,
        tenant_id=TENANT,
        pipeline_version="v",
        epoch=1,
        lease_token="x",
        lease_expires_at=clock.now(),
        anchor=ClockAnchor(monotonic=clock.now(), wall=clock.wall()),
    )


class Copy(Stage):
    """The same in a folder of its own, spec and corpus and all."""

    def __init__(self, of: Stage, folder: Path) -> None:
        shutil.copytree(of.folder, folder, dirs_exist_ok=True)
        self.folder, self.data, self.corpus = folder, folder / "data", folder / "corpus"
        self.gates, self.keys, self.url = (
            folder / "gates.json",
            folder / "keys",
            f"sqlite:///{folder / 'control.db'}",
        )
        self.said, self.offset_ms = [], 0
        self.release = self.data / "releases" / PIPELINE / "v2"
        moved = (self.release / FILE).read_text().replace(str(of.folder), str(folder))
        (self.release / FILE).write_text(moved)

    def attempts(self) -> list[tuple[str, str]]:
        so_far = self.work(self.release).attempts()
        return [(one.name.value, one.code or ("PASS" if one.passed else "RUNNING")) for one in so_far]

    def on(self, **more: Any) -> Ended:
        asked = Asked(**{name: more.pop(name) for name in tuple(more) if name in Asked.__struct_fields__})
        return self.go(self.release, asked, **more)

    def set(self, **more: Any) -> None:
        settings = msgspec.structs.replace(read(self.release), **more)
        (self.release / FILE).write_bytes(msgspec.json.encode(settings))

    def run(self, *words: str) -> Result:
        to = ("--store", self.url, "--data", str(self.data), "--tell", "none")
        named = [] if words[0] in ("status", "abort") else ["--tell", "none"]
        return CliRunner().invoke(command, [*words, *(to[:4]), *named])
