"""Routes to workers that serve pipelines of their own files: a console beside them leads its calls there, and nobody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rspp.control.fleet.places import PIPELINES
from rspp.host.ports import Refused
from tests.unit.control.operations.test_operations import asked, plane_in, served, worker

OWN = {PIPELINES: "desk@v1,shop@v2"}


def test_where_nothing_is_published_a_call_goes_to_a_worker_with_a_file_of_that_name(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        await worker(plane, "w-files", labels=OWN)
        for pipeline, wanted in (("", "desk@v1"), ("shop", "shop@v2"), ("shop@v2", "shop@v2")):
            route = await asked(plane, "routes.create", tenant="acme", pipeline=pipeline)
            assert (route.worker, route.pipeline) == ("w-files", wanted)
        for unknown in ("other", "shop@v1", "v2", "desk@v1,shop"):
            with pytest.raises(Refused) as refused:
                await asked(plane, "routes.create", tenant="acme", pipeline=unknown)
            assert refused.value.code == "pipeline_unknown"

    asyncio.run(main())


def test_what_is_published_is_never_led_to_a_worker_that_serves_files(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await worker(plane, "w-files", "ap", labels=OWN)
        for _ in range(4):
            route = await asked(plane, "routes.create", tenant="bolt", latencies_ms={"ap": 1.0, "eu": 200.0})
            assert (route.region, route.pipeline) == ("eu", "voice@v1")
        own = await asked(plane, "routes.create", tenant="bolt", pipeline="desk")
        assert (own.worker, own.pipeline) == ("w-files", "desk@v1")

    asyncio.run(main())
