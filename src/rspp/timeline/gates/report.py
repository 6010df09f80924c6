"""What the gates say: each with its figures, the limits it was held to, and every violation by name.

Nothing passes for want of evidence: a gate without samples fails, an anchor that is not there fails, and limits that are
looser than the contract's are shown beside them and make a report unfit for a release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

import msgspec

from rspp.host.alerts import Alert

FORMAT: Final = "rspp-gates-v1"
NS_PER_MS: Final = 1_000_000
NUMBERS: Final = (1, 2, 3, 4, 5, 6, 7)
# Of one gate's violations, so many are written out; all are counted.
VIOLATIONS_MAX: Final = 200
# A release takes a report that is no older than this, and whose clock is no further ahead than that.
AGE_MS_MAX: Final = 24 * 3_600_000
AHEAD_MS_MAX: Final = 5 * 60_000


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of the gates that measure time. The others have none to be set: nothing stale, and all turns whole."""

    open_decision_p95_ms: float = 120.0
    first_output_p95_ms: float = 1500.0
    cancel_fence_p95_ms: float = 150.0
    end_to_end_p50_ms: float = 1500.0
    end_to_end_p95_ms: float = 2000.0


CONTRACT: Final = Thresholds()


class Differs(msgspec.Struct, frozen=True):
    """A limit that is not the contract's."""

    name: str
    here: float
    contract: float

    @property
    def looser(self) -> bool:
        return self.here > self.contract


def differences(thresholds: Thresholds) -> list[Differs]:
    """Every limit that is not the contract's, looser or stricter."""
    names = Thresholds.__struct_fields__
    pairs = ((name, getattr(thresholds, name), getattr(CONTRACT, name)) for name in names)
    return [Differs(name, here, contract) for name, here, contract in pairs if here != contract]


class Violation(msgspec.Struct, frozen=True):
    """One thing that must not be: where, which anchor or field, and what is wrong with it."""

    session: str
    turn: str | None
    anchor: str
    what: str


class Slow(msgspec.Struct, frozen=True):
    """One of the longest spans of a gate: where to look first."""

    session: str
    turn: str
    ms: float


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One gate. A figure of nothing is None: nothing is not fast, and not complete."""

    number: int
    name: str
    formula: str
    values: dict[str, float | None]
    thresholds: dict[str, float]
    samples: int
    violations_total: int
    violations: list[Violation]
    passed: bool
    slowest: list[Slow] = []


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """A metric beside the gates; `missing` says why it could not be had from these recordings."""

    name: str
    value: float | None
    unit: str
    samples: int
    limit: float | None = None
    passed: bool = True
    missing: str = ""
    note: str = ""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One recording that was judged, known again by the digest of what was judged in it."""

    session_id: str
    tenant_id: str
    pipeline: str
    level: str
    whole: bool
    turns: int
    digest: str


class EndToEnd(msgspec.Struct, frozen=True, kw_only=True):
    """From the first frame in to the first sound out, against the target of the pipeline's profile."""

    pipeline: str
    p50_ms: float | None
    p95_ms: float | None
    samples: int
    target_p95_ms: int
    alert_above_ms: float
    window_turns: int
    met: bool


class Overhead(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel took of the machine, window by window, against its budget."""

    windows: int
    samples: int
    mean_us_worst: float | None
    p95_us_worst: float | None
    budget_us: float | None
    budget_p95_us: float | None
    over: int
    passed: bool


class GateReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, for people, for programs and for whoever publishes a release. `seal` is the digest of all the rest."""

    format: str
    made_wall_ms: int
    runtime: str
    subjects: list[Subject]
    digest: str
    gates: list[Gate]
    side: list[Side]
    end_to_end: list[EndToEnd]
    alerts: list[Alert]
    thresholds: Thresholds
    differs: list[Differs]
    passed: bool
    overhead: Overhead | None = None
    seal: str = ""


def seal_of(report: GateReport) -> str:
    """The digest of everything in a report but its seal. It shows a change, not who made it: there is no key in it."""
    rest = msgspec.json.encode(msgspec.structs.replace(report, seal=""))
    # As it is read again: a whole number may stand where a file will say 24.0.
    again = msgspec.json.decode(rest, type=GateReport)
    return hashlib.sha256(msgspec.json.encode(again, order="sorted")).hexdigest()


def sealed(report: GateReport) -> GateReport:
    return msgspec.structs.replace(report, seal=seal_of(report))


def percentile(values: Sequence[int], share: float) -> int | None:
    """Nearest rank: the smallest value that this share of all does not exceed, the ceil(p*n)-th of n."""
    if not values:
        return None
    # 0.95 * 20 is 19.000000000000004 to some machines; the rank is 19.
    rank = max(1, ceil(round(share * len(values), 9)))
    return sorted(values)[rank - 1]


def percentile_ms(values: Sequence[int], share: float) -> float | None:
    """The same of nanoseconds, in milliseconds."""
    found = percentile(values, share)
    return None if found is None else found / NS_PER_MS


def gate(
    number: int,
    name: str,
    formula: str,
    values: Mapping[str, float | None],
    thresholds: Mapping[str, float],
    samples: int,
    violations: Sequence[Violation],
    *,
    least: bool = False,
    empty: str = "",
    slowest: Sequence[Slow] = (),
) -> Gate:
    """Judge one gate: every figure within its limit (`least`: no lower than it), no violation, and something was measured."""
    found = list(violations)
    if not samples:
        found.append(Violation("", None, "samples", f"nothing to measure: {empty}"))
    within = all(
        value is not None and (value >= thresholds[key] if least else value <= thresholds[key])
        for key, value in values.items()
    )
    return Gate(
        number=number,
        name=name,
        formula=formula,
        values=dict(values),
        thresholds=dict(thresholds),
        samples=samples,
        violations_total=len(found),
        violations=found[:VIOLATIONS_MAX],
        passed=within and not found,
        slowest=list(slowest),
    )


def unfit(report: GateReport, now_wall_ms: int) -> list[str]:
    """Why a release must not rest on this report; empty if it may."""
    if report.format != FORMAT:
        return [f"the report is of format {report.format!r}, only {FORMAT!r} is known here"]
    found = [] if report.seal == seal_of(report) else ["the report was changed after it was made"]
    found += [f"gate {one.number}, {one.name}, failed" for one in report.gates if not one.passed]
    if sorted(one.number for one in report.gates) != list(NUMBERS):
        found.append("not every gate was judged, each once")
    found += [
        f"{one.name} is {one.here:g}, looser than the contract's {one.contract:g}"
        for one in differences(report.thresholds)
        if one.looser
    ]
    if not report.passed and not found:
        found.append("the report as a whole failed")
    return found + check_fresh(report, now_wall_ms)


def check_fresh(report: GateReport, now_wall_ms: int) -> list[str]:
    """Is the report of these 24 hours? What is wrong with its age; a clock may be five minutes off, no more."""
    age_ms = now_wall_ms - report.made_wall_ms
    if age_ms > AGE_MS_MAX:
        return [f"the report is {age_ms / 3_600_000:.1f} hours old, at most 24 are allowed"]
    if age_ms < -AHEAD_MS_MAX:
        return [f"the report is from {-age_ms / 60_000:.0f} minutes in the future, at most 5 are allowed"]
    return []
