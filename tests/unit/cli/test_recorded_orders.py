"""What a worker does about its recordings when it is told: it tries now, deletes what is due, gives up what is asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rspp.cli.recorded import Choice, Recorded
from rspp.cli.recorded_orders import orders_of
from rspp.contract.errors import LimitReached
from rspp.control.commands import Command, CommandKind, Outcome
from rspp.host.ports import Store
from rspp.timeline.export import ExportSettings
from tests.unit.cli.test_recorded import held, until

KINDS = (CommandKind.RETRY_EXPORT, CommandKind.FREE_RECORDINGS, CommandKind.GIVE_UP_EXPORT)
# After a failure it waits for so long that only an order makes it try again in time.
SLOW = ExportSettings(pause_ms=20_000, pause_ms_max=60_000)


class Full:
    """A store in front of another one that takes no blobs while it is full."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put_blob(self, name: str, data: bytes) -> None:
        if self.full:
            raise LimitReached("store_full", "there is no room")
        await self._store.put_blob(name, data)


async def told(recorded: Recorded, kind: CommandKind) -> tuple[Outcome, str]:
    return await orders_of(recorded)[kind](Command(id="c", kind=kind, by="ada"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_that_records_nothing_says_so(tmp_path: Path, kind: CommandKind) -> None:
    recorded = Recorded(Choice(data=tmp_path, level="off"))
    assert asyncio.run(told(recorded, kind))[0] is Outcome.REFUSED


def test_what_waits_is_tried_now_and_the_answer_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.cli.recorded_orders.RETRY_MS_MAX", 300)

    async def main() -> None:
        stores: list[Full] = []

        def guarded(store: Store) -> Store:
            stores.append(Full(store))
            return stores[0]

        recorded = Recorded(Choice(data=tmp_path), guarded=guarded)
        await recorded.start()
        assert recorded.exporter is not None
        recorded.exporter.settings = SLOW
        await held(recorded)
        counts = recorded.exporter.meters.durable_export_failures_total
        await until(lambda: counts.get("store_full", 0) == 1)
        outcome, message = await told(recorded, CommandKind.RETRY_EXPORT)
        assert outcome is Outcome.FAILED
        assert "wait still" in message
        assert "store_full" in message
        stores[0].full = False
        outcome, message = await told(recorded, CommandKind.RETRY_EXPORT)
        assert (outcome, message[-9:]) == (Outcome.DONE, "none wait")
        assert await recorded.finish() == 0

    asyncio.run(main())
    assert not list(tmp_path.glob("spool/*/*/*.seg"))


def test_what_is_due_is_deleted_now(tmp_path: Path) -> None:
    (tmp_path / "retention.yaml").write_text("{name: short, everybody: {metadata: 1s}}")

    async def main() -> None:
        recorded = Recorded(Choice(data=tmp_path))
        recorded.sweep_every_s = 3_600
        await recorded.start()
        await held(recorded)  # a simulated call of 1970
        await told(recorded, CommandKind.RETRY_EXPORT)
        assert await told(recorded, CommandKind.FREE_RECORDINGS) == (
            Outcome.DONE,
            "1 recordings were due and are deleted or cut",
        )
        assert recorded._store is not None
        assert await recorded._store.blobs() == []
        await recorded.finish()

    asyncio.run(main())


def test_what_is_given_up_is_gone_from_the_disk_and_its_recording_and_the_record_say_so(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        stores: list[Full] = []

        def guarded(store: Store) -> Store:
            stores.append(Full(store))
            return stores[0]

        recorded = Recorded(Choice(data=tmp_path), guarded=guarded)
        await recorded.start()
        await held(recorded)
        assert recorded.exporter is not None
        meters = recorded.exporter.meters
        await until(lambda: meters.durable_export_failures_total.get("store_full", 0) > 0)
        outcome, message = await told(recorded, CommandKind.GIVE_UP_EXPORT)
        assert outcome is Outcome.DONE, message
        assert not message.startswith("0 ")
        assert await recorded.finish() == 0
        assert meters.given_up_total > 0

    asyncio.run(main())
    assert not list(tmp_path.glob("spool/*/*/*.seg"))
