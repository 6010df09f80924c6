"""What several tests of the host need around them."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No collection meanwhile: a test library watches the collector, and what strikes its watcher instead of the node, or finds
    it without stack, is reported as a fault of the test. The node would be struck once more.
    """
    gc.disable()
    yield
    gc.enable()
