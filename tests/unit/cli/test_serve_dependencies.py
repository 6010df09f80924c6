"""What keeps a worker from taking calls, and what does not."""

from __future__ import annotations

from rspp.cli.serve_dependencies import Dependencies
from rspp.host.providers import Readiness
from rspp.testing.store import MemoryStore


class Some:
    """Providers as they stand at one moment."""

    def readiness(self) -> list[Readiness]:
        return [Readiness("well", True), Readiness("opening", False), Readiness("broken", False, "no answer")]

    async def check(self) -> None: ...


def test_a_provider_that_fails_turns_callers_away_and_one_that_is_being_opened_does_not() -> None:
    """It is opened for a pipeline that is new here; calls of all the others need not wait for it."""
    dependencies = Dependencies(MemoryStore(), Some(), lambda: None)  # type: ignore[arg-type]
    assert dependencies.failing() == ("provider:broken",)


def test_where_pipelines_are_of_whoever_publishes_one_no_provider_of_theirs_turns_the_others_away() -> None:
    dependencies = Dependencies(MemoryStore(), Some(), lambda: None, own_pipelines=False)  # type: ignore[arg-type]
    assert dependencies.failing() == ()
