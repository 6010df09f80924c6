"""What a recording may be made small for, and the same question asked of a small one: does it still fail?

    invariant                   any of the kernel's invariants is broken
    violation INV-10            this one is
    signal abort                this signal is announced
    predicate module:function   the function says so of the run's story
    divergence                  the replay does not do what was recorded: the first item that differs

For a divergence what was recorded is the measure: what was left out of the inputs is left out of it, too, and the rest must be
as it was but for the one item that differs. Where the failure is that nothing comes of an input any more, only what comes after
it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import msgspec

from rspp.contract.errors import MisuseError
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.invariants.view import INVARIANTS
from rspp.nodes import factories as our_factories
from rspp.timeline.diff.comparison import compare
from rspp.timeline.diff.findings import Divergence, Tolerance
from rspp.timeline.diff.report import Report
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.shrink import Check, Fed, Feeder, plain_steps
from rspp.timeline.story import Story, told

CHECKS = ("invariant", "violation", "signal", "predicate", "divergence")


def check_of(what: str, feeder: Feeder) -> Check:
    """The check of these words; raises MisuseError for words that mean none."""
    kind, _, about = what.strip().partition(" ")
    about = about.strip()
    if kind == "divergence" and not about:
        return DivergenceShows(feeder)
    return _free_check(kind, about, what)


def _free_check(kind: str, about: str, what: str) -> Broken | Announced | Judged:
    if kind == "invariant" and not about:
        return Broken(None)
    if kind == "violation" and about in INVARIANTS:
        return Broken(about)
    if kind == "signal" and about:
        return Announced(about)
    if kind == "predicate" and about.count(":") == 1:
        return Judged(about)
    raise MisuseError(
        "shrink_check_unknown",
        f"{what!r} is none of: divergence, invariant, violation INV-01..INV-16, signal NAME, predicate module:function",
    )


class Broken:
    """An invariant is broken; the first that is found is the one that is meant from then on."""

    own_wakes = True
    through = 0
    beginning_only = False

    def __init__(self, inv: str | None) -> None:
        self._inv = inv
        self._checker: str | None = None

    def findings(self, fed: Fed) -> list[str]:
        return [
            f"{one.inv} {one.checker}: {one.message}"
            for one in fed.violations
            if self._inv in (None, one.inv) and self._checker in (None, one.checker)
        ]

    def shows(self, fed: Fed) -> bool:
        found = [one for one in fed.violations if self._inv in (None, one.inv)]
        if self._checker is None and found:
            self._checker = found[0].checker
        return bool(self.findings(fed))


class Announced:
    """A signal is announced."""

    own_wakes = True
    through = 0
    beginning_only = False

    def __init__(self, name: str) -> None:
        self._name = name

    def findings(self, fed: Fed) -> list[str]:
        return [
            f"{item.name} at {item.at} ns"
            for item in fed.story.items
            if item.what == "signal" and item.name == self._name
        ]

    def shows(self, fed: Fed) -> bool:
        return bool(self.findings(fed))


class Judged:
    """A function of one's own says that the story is wrong."""

    own_wakes = True
    through = 0
    beginning_only = False

    def __init__(self, place: str) -> None:
        module, _, name = place.partition(":")
        try:
            self._judge: Callable[[Story], object] = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise MisuseError("shrink_check_unknown", f"predicate {place}: {error}") from error
        self._place = place

    def findings(self, fed: Fed) -> list[str]:
        return [f"{self._place} says so"] if self._judge(fed.story) else []

    def shows(self, fed: Fed) -> bool:
        return bool(self.findings(fed))


class DivergenceShows:
    """The replay does not do what was recorded, and first of all not this."""

    own_wakes = False

    def __init__(self, feeder: Feeder) -> None:
        self._recorded = bare(told(feeder.recording))
        whole = feeder.feed(range(1, len(feeder.inputs) + 1), own_wakes=False)
        report = differences(self._recorded, whole.story)
        first = _first(report)
        if first is None:
            raise MisuseError("shrink_nothing_fails", "no item of the replay differs from what was recorded")
        self.first = first
        # What comes after it follows from it, or is another failure.
        self.through = _step(first)
        self._sign = _sign(first)
        beside = [one for one in report.divergences if _step(one) == self.through]
        self._with_it = {_sign(one) for one in beside}
        # If all that came of the last input is missing, it would be missing without the other inputs, too.
        came = sum(item.step == self.through for item in self._recorded.items)
        self.beginning_only = came <= sum(one.items for one in beside if one.got_position is None)

    def expected(self, fed: Fed) -> Story:
        """What the inputs that are left came to when they were recorded."""
        here = {0: 0, **dict(plain_steps(fed.steps))}
        items = [
            msgspec.structs.replace(item, step=here[item.step])
            for item in self._recorded.items
            if item.step in here
        ]
        return msgspec.structs.replace(self._recorded, items=items)

    def shows(self, fed: Fed) -> bool:
        report = differences(self.expected(fed), fed.story)
        first = _first(report)
        # Nothing else may differ: with the fault repaired, nothing would.
        return (
            first is not None
            and _sign(first) == self._sign
            and all(_sign(one) in self._with_it for one in report.divergences)
        )


def _step(one: Divergence) -> int:
    """The last input that it is seen at."""
    return max(place.step for place in (one.expected_position, one.got_position) if place is not None)


def _first(report: Report) -> Divergence | None:
    return next((one for one in report.divergences if one.expected_position or one.got_position), None)


def _sign(one: Divergence) -> tuple[object, ...]:
    """What stays of a divergence when inputs before it are left out."""
    return one.kind, one.field, one.message, one.got if one.field else None


def bare(story: Story) -> Story:
    """A story of which only items are compared."""
    items = [
        msgspec.structs.replace(item, facts={name: one for name, one in item.facts.items() if name != "sum"})
        if "sum" in item.facts
        else item
        for item in story.items
    ]
    return msgspec.structs.replace(
        story,
        items=items,
        runs=[],
        plans={},
        evidence={},
        said=[],
        frames=[],
        digest=None,
        words=None,
        label="recorded",
    )


def differences(expected: Story, got: Story) -> Report:
    """How the items of two runs differ."""
    return compare(expected, bare(got), Tolerance(), same_clock=True)


def findings(path: Path, what: str, factories: Mapping[str, NodeFactory] | None = None) -> list[str]:
    """What the small recording shows of the failure that it was made for; nothing once that is repaired."""
    recording = read(path)
    feeder = Feeder(recording, factories or our_factories())
    fed = feeder.feed(range(1, len(feeder.inputs) + 1), own_wakes=False)
    kind, _, about = what.strip().partition(" ")
    if kind == "divergence":
        report = differences(bare(told(recording)), fed.story)
        return [f"{one.kind.value} {one.scope}: {one.message}" for one in report.divergences]
    return _free_check(kind, about.strip(), what).findings(fed)


def read(path: Path) -> Recording:
    return assemble([unframe(path.read_bytes())])
