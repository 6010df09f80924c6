"""What a corpus of recordings is held to: the file `regress.yaml` beside them, and the baseline that `--update` writes.

    timing_tolerance_ms: 15
    latency:                          # over all turns of the corpus; a stage's name, or whole
      whole: {p50_ms: 1500, p95_ms: 2000, more_percent: 10, more_ms: 20}
    recordings:
      interrupted.rspp:
        gate: quick                   # quick, full or both; full if nothing is said
        timing_tolerance_ms: 20
        invocation_latency_final_ms: 20
        invocation_latency_total_ms: 40
        divergences:
          - {class: ORDERING_DIVERGENCE, scope: "turn:*", approved: true, why: "..."}

`more_percent` and `more_ms` say by how much a stage may take longer than it did, in one recording: both have to be passed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.timeline.declared import bytes_of, declared_in
from rspp.timeline.diff.expected import Expectations, Expected
from rspp.timeline.diff.findings import Tolerance
from rspp.timeline.waterfall import STAGES

RULES: Final = "regress.yaml"
BASELINE: Final = "baseline.json"
BASELINE_BYTES_MAX: Final = 16 * 1024 * 1024
MALFORMED: Final = "malformed"
WHOLE: Final = "whole"
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Gate(StrEnum):
    QUICK = "quick"
    FULL = "full"
    BOTH = "both"


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of one stage."""

    p50_ms: NotNegative | None = None
    p95_ms: NotNegative | None = None
    more_percent: NotNegative = 10.0
    more_ms: NotNegative = 15.0


class OfRecording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one recording is held to."""

    gate: Gate = Gate.FULL
    timing_tolerance_ms: NotNegative | None = None
    invocation_latency_final_ms: NotNegative | None = None
    invocation_latency_total_ms: NotNegative | None = None
    divergences: tuple[Expected, ...] = ()

    @property
    def expectations(self) -> Expectations:
        return Expectations(self.divergences)


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a corpus is held to."""

    timing_tolerance_ms: NotNegative = 15.0
    latency: dict[str, Budget] = {}
    recordings: dict[str, OfRecording] = {}

    def of(self, name: str) -> OfRecording:
        return self.recordings.get(name, OfRecording())

    def tolerance(self, name: str) -> Tolerance:
        own = self.of(name)
        timing_ms = own.timing_tolerance_ms
        return Tolerance(
            timing_ms=self.timing_tolerance_ms if timing_ms is None else timing_ms,
            invocation_latency_final_ms=own.invocation_latency_final_ms,
            invocation_latency_total_ms=own.invocation_latency_total_ms,
        )


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of one recording when the baseline was written: turn -> stage -> milliseconds."""

    sha256: str
    digest: str | None
    turns: dict[str, dict[str, float]]


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that was measured then."""

    recordings: dict[str, Kept] = {}
    # Under which other pipeline it was measured; only compared with runs under the same one.
    pipeline: str | None = None


def rules_in(folder: Path) -> Rules:
    """The folder's rules, or the defaults; raises MisuseError for what cannot be meant."""
    path = folder / RULES
    if not path.exists():
        return Rules()
    rules = declared_in(path, Rules, MALFORMED, empty=Rules())
    for stage in rules.latency:
        if stage not in (WHOLE, *STAGES):
            raise MisuseError(
                MALFORMED, f"no stage is called {stage!r}: {WHOLE}, {', '.join(STAGES)}", f"{path}: latency"
            )
    for name in rules.recordings:
        if not (folder / name).is_file():
            raise MisuseError(MALFORMED, f"there is no recording {name}", f"{path}: recordings")
    return rules


def baseline_in(folder: Path) -> Baseline | None:
    """What was measured before, if anything was."""
    path = folder / BASELINE
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(bytes_of(path, MALFORMED, BASELINE_BYTES_MAX), type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError(MALFORMED, str(error), str(path)) from error


def write_baseline(folder: Path, baseline: Baseline) -> Path:
    """Keep what was measured now."""
    path = folder / BASELINE
    data = msgspec.json.format(msgspec.json.encode(baseline, order="sorted"), indent=2)
    try:
        path.write_bytes(data + b"\n")
    except OSError as error:
        raise MisuseError(MALFORMED, f"cannot write: {error.strerror}", str(path)) from error
    return path
