"""The kernel's overhead as it was stored, window by window, held to the budget that it was metered under."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from rspp.contract.codec import CodecError
from rspp.host.overhead import SAMPLES_MIN, Window
from rspp.timeline.gates.report import Overhead


def read(lines: Iterable[bytes]) -> list[Window]:
    """Windows of a log or of a file; a last line that is torn is none."""
    records = [line for line in lines if line.strip()]
    found: list[Window] = []
    for number, line in enumerate(records):
        try:
            found.append(msgspec.json.decode(line, type=Window))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number < len(records) - 1 or line.rstrip().endswith(b"}"):
                raise CodecError("malformed", f"overhead[{number}]", str(error)) from error
    return found


def judge(windows: Iterable[Window]) -> Overhead:
    """Was every window within its budget? Windows with too few steps say nothing; without any other, nothing was metered."""
    told = [window for window in windows if window.samples >= SAMPLES_MIN]
    over = sum(bool(window.over) for window in told)
    return Overhead(
        windows=len(told),
        samples=sum(window.samples for window in told),
        mean_us_worst=max((window.mean_us for window in told), default=None),
        p95_us_worst=max((window.p95_us for window in told), default=None),
        budget_us=min((window.budget_us for window in told), default=None),
        budget_p95_us=min((window.budget_p95_us for window in told), default=None),
        over=over,
        passed=bool(told) and not over,
    )
