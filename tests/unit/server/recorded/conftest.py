"""Reading processes that are begun once for a module's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.server.recorded.given import Readers


@pytest.fixture(scope="package")
def readers() -> Iterator[Readers]:
    with asyncio.Runner() as runner:
        made = Readers(runner)
        try:
            yield made
        finally:
            runner.run(made.children.close())


@pytest.fixture
def kept_as_it_was(readers: Readers) -> Iterator[None]:
    """What a test puts in the way of the reading processes is taken away after it."""
    try:
        yield
    finally:
        vars(readers.children).pop("ask", None)
