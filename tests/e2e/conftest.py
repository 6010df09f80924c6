"""One fleet for all tests that need one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.e2e.fleet import Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        yield asyncio.run(made.start())
    finally:
        made.stop()
