"""What stands behind a host that records: the store is filled, what is due goes, what is left over waits for the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click import ClickException, UsageError

from rspp.cli.recorded import Choice, Recorded, Witness, check, export_rest
from rspp.cli.recordings import STORE_FILE, Where, load
from rspp.contract.words import RecordingLevel
from rspp.host.ports import TellsSession, WatchesNodes
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.inputs import EvidenceStored, Input
from rspp.timeline.recorders import Recorders
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.spooled import fill, renamed


async def held(recorded: Recorded, name: str = "s-1") -> None:
    """A session passes through the spool of these."""
    recorders = recorded.recorders
    assert isinstance(recorders, Recorders)
    await fill(recorders.spool, renamed(simulated_bytes(), name, "local"), name, "local")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it did not come to pass in time")


def test_what_was_recorded_is_in_the_store_when_the_command_ends(tmp_path: Path) -> None:
    async def main() -> None:
        recorded = Recorded(Choice(data=tmp_path))
        await recorded.start()
        await held(recorded)
        assert await recorded.finish() == 0

    asyncio.run(main())
    assert load("s-1", Where(data=tmp_path)).whole
    assert not list(tmp_path.glob("spool/*/*/*.seg"))


def test_recordings_that_go_to_another_store_outlive_the_data_folder(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'shared.db'}"
    data = tmp_path / "data"

    async def main() -> None:
        recorded = Recorded(Choice(data=data, store=url))
        await recorded.start()
        await held(recorded)
        assert await recorded.finish() == 0

    asyncio.run(main())
    assert not (data / STORE_FILE).exists()
    assert load("s-1", Where(data=tmp_path / "another machine", store=url)).whole
    with pytest.raises(ClickException, match="no recording"):
        load("s-1", Where(data=data))


@pytest.mark.parametrize("url", ["nats://", "file:///x", "sqlite://relative.db"])
def test_the_address_of_a_store_that_is_none_is_wrong_usage(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="--recordings"):
        load("s-1", Where(data=tmp_path, store=url))


def test_what_could_not_be_exported_in_time_is_said_and_exported_by_the_next_start(tmp_path: Path) -> None:
    said: list[str] = []

    async def main() -> int:
        recorded = Recorded(Choice(data=tmp_path))
        await recorded.start(export=False)
        await held(recorded)
        recorded.exporter = None
        return await recorded.finish(said.append, deadline_ms=1)

    asyncio.run(main())
    assert list(tmp_path.glob("spool/*/*/*.seg"))
    assert load("s-1", Where(data=tmp_path)).whole, "it can be read all the same"
    assert export_rest(Choice(data=tmp_path), said.append) == 0
    assert "exporting recordings" in said
    assert not list(tmp_path.glob("spool/*/*/*.seg"))
    assert load("s-1", Where(data=tmp_path)).whole


def test_a_server_deletes_what_is_due_by_the_folders_own_policy(tmp_path: Path) -> None:
    (tmp_path / "retention.yaml").write_text("{name: short, everybody: {metadata: 1s}}")

    async def main() -> bool:
        recorded = Recorded(Choice(data=tmp_path))
        recorded.sweep_every_s = 0.02
        await recorded.start()
        await held(recorded)  # a simulated call of 1970
        store = recorded._store
        assert store is not None
        for _ in range(500):
            if await store.keys("recordings") and not await store.blobs():
                break
            await asyncio.sleep(0.01)
        gone = not await store.blobs()
        await recorded.finish()
        return gone

    assert asyncio.run(main())


def test_a_policy_of_retention_that_is_wrong_is_told_before_the_first_call(tmp_path: Path) -> None:
    (tmp_path / "retention.yaml").write_text("{everybody: {PHI: 5d}}")
    with pytest.raises(UsageError, match="PHI"):
        check(Choice(data=tmp_path))
    check(Choice(data=tmp_path, level="off"))


def test_off_records_nothing_and_touches_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        recorded = Recorded(Choice(data=tmp_path / "data", level="off"))
        await recorded.start()
        assert isinstance(recorded.recorders("s"), MemoryRecorder)
        assert await recorded.finish() == 0

    asyncio.run(main())
    check(Choice(data=tmp_path / "data", level="off"))
    assert export_rest(Choice(data=tmp_path / "data", level="off")) == 0
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("level", "asked", "unstated"),
    [(None, None, RecordingLevel.L1), ("L0", RecordingLevel.L0, RecordingLevel.L1), ("off", None, None)],
)
def test_what_is_asked_for_and_what_holds_for_a_pipeline_that_says_nothing(
    level: str | None, asked: RecordingLevel | None, unstated: RecordingLevel | None
) -> None:
    choice = Choice(data=Path("x"), level=level)
    assert (choice.asked, choice.unstated) == (asked, unstated)


def test_evidence_is_in_the_report_only_once_it_is_kept() -> None:
    evidence = next(iter(simulated().evidence.values()))

    class Slow(MemoryRecorder):
        __slots__ = ("inputs",)

        def __init__(self) -> None:
            super().__init__()
            self.inputs: list[Input] = []

        def took(self, at: int, received: Input) -> None:
            self.inputs.append(received)

    slow = Slow()
    witness = Witness(slow)
    assert isinstance(witness, TellsSession | WatchesNodes)
    for record, ok in (("one", True), ("two", False), ("three", None)):
        assert witness.evidence(record, evidence) is None
        if ok is not None:
            witness.took(1, EvidenceStored(record, ok))
    assert len(witness.turns) == 1
    assert len(slow.inputs) == 2
