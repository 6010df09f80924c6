"""Which divergences were expected, and what follows from that: the contract's gate, in one table.

    fails unless expected                 plan, outcome, provider choice
    fails unless expected and approved    ordering
    fails above the tolerance             timing; what says no difference fails; limits on a call's latency excuse nothing
    always fails                          authority; a class that nobody knows; what was expected and did not come

A file of expectations is YAML or JSON:

    divergences:
      - class: OUTCOME_DIVERGENCE
        scope: "turn:s-1/turn-2"      # a * stands for any run of characters
      - class: ORDERING_DIVERGENCE
        scope: "turn:*"
        approved: true
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from rspp.timeline.declared import declared_in
from rspp.timeline.diff.findings import Divergence, DivergenceClass, Tolerance

ALWAYS_FAILS: Final = ("invocation_latency_final:", "invocation_latency_total:")
KNOWN: Final = frozenset(kind.value for kind in DivergenceClass)


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One divergence, or all of one scope, that is meant to be there."""

    kind: str = msgspec.field(name="class")
    scope: str
    approved: bool = False
    why: str = ""


class Expectations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is meant to differ. Classes in `ignore` are not looked at; the file's owner answers for that."""

    divergences: tuple[Expected, ...] = ()
    ignore: tuple[str, ...] = ()


NOTHING: Final = Expectations()


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a comparison fails; `divergence` is the number of the one that it fails by."""

    kind: str = msgspec.field(name="class")
    scope: str
    why: str
    divergence: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What is left when the expected is taken away."""

    failures: list[Failure]
    expected: int = 0  # divergences that were expected
    ignored: int = 0


def read(path: Path) -> Expectations:
    """The expectations of a file, or an error that says what is wrong with it."""
    return declared_in(path, Expectations, "malformed", empty=NOTHING)


def judge(
    divergences: Sequence[Divergence], total: int, expectations: Expectations, tolerance: Tolerance
) -> Verdict:
    """What fails."""
    failures: list[Failure] = []
    seen: set[int] = set()
    expected = ignored = 0
    for one in divergences:
        if one.kind in expectations.ignore and one.kind is not DivergenceClass.AUTHORITY:
            ignored += 1
            continue
        number = _found(one, expectations)
        if number is not None:
            seen.add(number)
        why = _why(one, None if number is None else expectations.divergences[number], tolerance)
        if why is None:
            expected += 1
        else:
            failures.append(Failure(one.kind, one.scope, why, one.number))
    if total > len(divergences):
        failures.append(Failure("", "trace", f"{total - len(divergences)} more, which were only counted"))
    for number, want in enumerate(expectations.divergences):
        if want.kind not in KNOWN:
            failures.append(Failure(want.kind, want.scope, "no class is called this"))
        elif number not in seen:
            failures.append(Failure(want.kind, want.scope, "was expected, and did not come"))
    return Verdict(failures, expected, ignored)


def _found(one: Divergence, expectations: Expectations) -> int | None:
    for number, want in enumerate(expectations.divergences):
        if want.kind == one.kind and fnmatchcase(one.scope, want.scope):
            return number
    return None


def _why(one: Divergence, want: Expected | None, tolerance: Tolerance) -> str | None:
    """Why this one fails; None if it does not."""
    match one.kind:
        case DivergenceClass.AUTHORITY:
            return "authority must never differ"
        case DivergenceClass.TIMING:
            return _timing(one, tolerance)
        case DivergenceClass.ORDERING:
            if want is None:
                return "not expected"
            return None if want.approved else "expected, but not approved"
        case _:
            return "not expected" if want is None else None


def _timing(one: Divergence, tolerance: Tolerance) -> str | None:
    if one.scope.startswith(ALWAYS_FAILS):
        return "beyond the limit on a call's latency"
    if one.diff_ms is None:
        return "a difference in time that does not say how much"
    return f"above the tolerance of {tolerance.timing_ms:g} ms" if one.diff_ms > tolerance.timing_ms else None
