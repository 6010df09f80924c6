"""Real builds of neighbouring versions, every combination of them over one store: what is allowed works, the rest is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from rspp.cli.control.init import begin
from rspp.client import ControlPlane
from tests.e2e.fleet import CONTROL, READY_S, SERVE, Api, Program, calling, say, spec, until
from tests.features.skew import (
    CELLS,
    HOME_SCHEMA,
    RELEASES,
    SCHEMAS,
    Cell,
    Result,
    build,
    faults,
    version_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]

Builds = dict[tuple[str, str], Path]


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    folder = tmp_path_factory.mktemp("builds")
    made = {(release, schema): build(folder, release, schema) for release in RELEASES for schema in SCHEMAS}
    for (release, schema), target in made.items():
        assert version_of(target) == f"{release} {schema}"
    return made


class Region:
    """A control plane of one release, over a store of its own, and the runtimes that try to join it."""

    def __init__(self, builds: Builds, folder: Path, release: str) -> None:
        folder.mkdir()
        self.builds, self.folder, self.release = builds, folder, release
        self.url, self.keys = f"sqlite://{folder / 'control.db'}", folder / "keys"
        self.programs: list[Program] = []  # bounded: one for each runtime of the matrix
        self.api: Api

    def control(self) -> Program:
        words = (CONTROL, "serve", "--listen", "127.0.0.1:0", "--store", self.url, "--keys", str(self.keys))
        return self._begin(f"control-{len(self.programs)}", self.builds[self.release, HOME_SCHEMA], *words)

    def runtime(self, release: str, schema: str) -> Program:
        name = f"w{release.replace('.', '-')}-{schema.replace('.', '-')}-{len(self.programs)}"
        words = (
            SERVE,
            "--workers",
            "1",
            "--name",
            name,
            "--data",
            str(self.folder / name),
            "--store",
            self.url,
        )
        more = (
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--lease-ttl",
            "3s",
            "--drain-ms",
            "2000",
            "-v",
        )
        return self._begin(name, self.builds[release, schema], *words, *more)

    def _begin(self, name: str, build: Path, *words: str) -> Program:
        self.programs.append(Program(self.folder / f"{name}.log", *words, PYTHONPATH=str(build)))
        return self.programs[-1]

    async def start(self) -> None:
        token = self.folder / "admin.token"
        await begin(self.url, self.keys, "root", token)
        program = self.control()
        self.api = Api(await program.address("control plane on"), token.read_text().strip())
        await self.api.post("/v1/pipelines", text=spec("desk", "v1"))
        await self.api.post("/v1/rollouts/desk/begin", version="v1", reason="the first")

    async def joined(self, cell: Cell) -> Result:
        """What comes of a runtime that joins: a call that is answered, or a refusal."""
        program = self.runtime(cell.runtime, cell.schema)
        try:
            while "version_skew_unsupported" not in program.said:
                if await self._is_member(cell.runtime):
                    return Result(cell=cell, result="works", said=await self._call())
                if program.process.poll() is not None:
                    break
                await asyncio.sleep(0.1)
            return Result(cell=cell, result=_refused(program), said=_refusal(program))
        finally:
            with suppress(Exception):
                program.end(READY_S)
            program.kill()
            await until(self._is_empty, READY_S)

    async def _workers(self) -> list[dict[str, object]]:
        items = (await self.api.get("/v1/workers"))["items"]
        return [one for one in items if one["kind"] == "worker"]

    async def _is_member(self, release: str) -> bool:
        prefix = f"w{release.replace('.', '-')}-"
        return any(str(one["worker"]).startswith(prefix) and one["ready"] for one in await self._workers())

    async def _is_empty(self) -> bool:
        return not any(one["ready"] for one in await self._workers())

    async def _call(self) -> str:
        assert self.api.token is not None
        routes = ControlPlane(self.api.url, credential=self.api.token)
        async with calling(routes, "r", pipeline="desk") as call:
            return await say(call, "Hello?")

    def stop(self) -> None:
        for program in self.programs:
            program.kill()


def _refused(program: Program) -> str:
    return "refused" if "version_skew_unsupported" in program.said else "broken"


def _refusal(program: Program) -> str:
    lines = [line for line in program.said.splitlines() if "version_skew_unsupported" in line]
    return lines[0] if lines else program.said[-2_000:]


def matrix(builds: Builds, folder: Path) -> bytes:
    """Every cell tried by real processes, as a document of results."""

    async def column(release: str) -> list[Result]:
        region = Region(builds, folder / release, release)
        try:
            await region.start()
            async with asyncio.timeout(READY_S * 6):
                return [await region.joined(cell) for cell in CELLS if cell.control == release]
        finally:
            region.stop()

    results = [one for release in RELEASES for one in asyncio.run(column(release))]
    return msgspec.json.format(msgspec.json.encode(results), indent=1)


@pytest.mark.proves("NF-032")
def test_every_cell_of_the_window_is_tried_with_real_builds_and_a_cell_without_a_result_fails(
    builds: Builds, tmp_path: Path
) -> None:
    document = matrix(builds, tmp_path)
    assert faults(document) == [], document.decode()
    results = msgspec.json.decode(document, type=list[Result])
    assert {one.result for one in results} == {"works", "refused"}
    for number, left_out in enumerate(results):
        rest = msgspec.json.encode(results[:number] + results[number + 1 :])
        assert faults(rest) == [f"{left_out.cell}: no result"]
        turned = msgspec.structs.replace(
            left_out, result="refused" if left_out.result == "works" else "works"
        )
        assert faults(msgspec.json.encode([*results[:number], turned, *results[number + 1 :]]))


def test_a_control_plane_refuses_a_fleet_that_it_does_not_go_with(builds: Builds, tmp_path: Path) -> None:
    """The other order: the runtimes are there first, and a control plane two releases on is put beside them."""

    async def main() -> None:
        region = Region(builds, tmp_path / "fleet", RELEASES[0])
        try:
            await region.start()
            region.runtime(RELEASES[0], HOME_SCHEMA)
            await until(lambda: region._is_member(RELEASES[0]), READY_S)
            region.release = RELEASES[2]
            late = region.control()
            async with asyncio.timeout(READY_S):
                while late.process.poll() is None:  # noqa: ASYNC110 - another process does not wake this one
                    await asyncio.sleep(0.1)
            assert late.process.returncode != 0
            assert "version_skew_unsupported" in late.said
            # Which of the two it meets first is the store's affair: the runtime, or the other control plane.
            refusal = _refusal(late)
            assert "0.3.0" in refusal
            assert "0.1.0" in refusal
            assert f"schema {HOME_SCHEMA}" in refusal
            assert await region._call()  # and nobody was disturbed
        finally:
            region.stop()

    asyncio.run(main())
