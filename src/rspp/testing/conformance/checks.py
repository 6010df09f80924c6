"""A check says one thing that must hold of one port; a suite is a list of checks; a report is what came of them.

    report = run_suite(store.conformance(make_store))
    assert report.conforms, report.reasons()

A category in which nothing passed is not proven, so a report conforms only when every category of its suite has a check
that passed and none that failed. The same checks run under pytest: `@parametrize(store.conformance(make_store))`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from rspp.contract.errors import MisuseError

if TYPE_CHECKING:
    import pytest

Run = Callable[[Coroutine[Any, Any, None]], None]
# No check takes longer, whatever its target does, unless the target blocks the thread itself.
CHECK_S_MAX: Final = 60.0


class CheckFailedError(AssertionError):
    """The target does not do what its port says; the message tells what it did."""


class NotApplicableError(Exception):
    """By its own word the target cannot do what this check asks about."""


class Check(msgspec.Struct, frozen=True):
    """One sentence about a port, and how to find out whether it is true of a target."""

    category: str
    name: str
    run: Callable[[], Awaitable[None]]


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    category: str
    name: str
    verdict: Literal["passed", "failed", "not_applicable", "not_run"]
    reason: str = ""


class Category(msgspec.Struct, frozen=True):
    """The verdict of one category: it passed when something in it did, nothing failed, and nothing was left out."""

    passed: int
    failed: int
    not_applicable: int
    reasons: tuple[str, ...]
    not_run: int = 0

    @property
    def ok(self) -> bool:
        return self.passed > 0 and self.failed == 0 and self.not_run == 0


class Report(msgspec.Struct, frozen=True):
    """What came of one suite; `msgspec.json.encode` writes it as it stands."""

    port: str
    conforms: bool
    categories: dict[str, Category]
    results: tuple[Result, ...]

    def failed(self) -> list[str]:
        """The names of what failed, in the suite's order."""
        return [result.name for result in self.results if result.verdict == "failed"]

    def reasons(self) -> str:
        """Every failure as a line."""
        return "\n".join(f"{r.category}: {r.name}: {r.reason}" for r in self.results if r.verdict == "failed")


def require(condition: object, message: str) -> None:
    """The check goes on only if this holds."""
    if not condition:
        raise CheckFailedError(message)


def run_check(check: Check, run: Run = asyncio.run) -> Result:
    """One check in a loop of its own. Whatever it raises is the target's doing, and its verdict."""
    try:
        run(_within(check))
    except NotApplicableError as why:
        return Result(check.category, check.name, "not_applicable", str(why))
    except CheckFailedError as failed:
        return Result(check.category, check.name, "failed", str(failed))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a target may raise anything; that is what is found out
        return Result(check.category, check.name, "failed", f"raised {type(error).__name__}: {error}")
    return Result(check.category, check.name, "passed")


async def _within(check: Check) -> None:
    """The check's own body, in bounded time; what a callback or a task of the target raised meanwhile fails it too."""
    stray: list[str] = []  # bounded: by the check's own length
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(_described(context)))
    try:
        await asyncio.wait_for(check.run(), CHECK_S_MAX)
    except TimeoutError:
        raise CheckFailedError(f"was not over after {CHECK_S_MAX:.0f} s") from None
    require(not stray, f"raised in the background: {stray[:1]}")


def _described(context: Mapping[str, Any]) -> str:
    error = context.get("exception")
    return f"{type(error).__name__}: {error}" if error else str(context.get("message"))


def run_suite(checks: Iterable[Check], port: str = "", run: Run = asyncio.run) -> Report:
    """All checks, one after the other, none skipped because another failed."""
    return report_of(port, tuple(run_check(check, run) for check in checks))


def report_of(port: str, results: tuple[Result, ...]) -> Report:
    """What these results come to, wherever they were had."""
    if not results:
        raise MisuseError("suite_empty", "a suite without checks proves nothing")
    categories = {
        name: _category([result for result in results if result.category == name])
        for name in dict.fromkeys(result.category for result in results)
    }
    return Report(port, all(category.ok for category in categories.values()), categories, results)


def _category(results: Sequence[Result]) -> Category:
    def count(verdict: str) -> int:
        return sum(result.verdict == verdict for result in results)

    reasons = tuple(f"{result.name}: {result.reason}" for result in results if result.reason)
    return Category(count("passed"), count("failed"), count("not_applicable"), reasons, count("not_run"))


def parametrize(checks: Iterable[Check]) -> pytest.MarkDecorator:
    """A pytest decorator: the test takes `check` and calls `verify(check)`, once for each."""
    import pytest  # noqa: PLC0415 - only who tests with pytest needs it

    listed = list(checks)
    return pytest.mark.parametrize(
        "check", listed, ids=[f"{c.category}: {c.name}".replace(" ", "-") for c in listed]
    )


def verify(check: Check, run: Run = asyncio.run) -> None:
    """Run one check inside a test: a failure is an AssertionError, what does not apply is skipped."""
    result = run_check(check, run)
    if result.verdict == "not_applicable":
        import pytest  # noqa: PLC0415 - only who tests with pytest needs it

        pytest.skip(result.reason)
    if result.verdict == "failed":
        raise CheckFailedError(f"{result.category}: {result.name}: {result.reason}")
