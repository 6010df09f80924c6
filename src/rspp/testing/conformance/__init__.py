"""Conformance suites: one body of checks for each port, run against every implementation of it, ours and yours.

Each module of this package is one port's suite, with a function `conformance(make, ...)` that lists its checks. How they are
run, here or under pytest, stands in `rspp.testing.conformance.checks`.
"""

from __future__ import annotations

from rspp.testing.conformance.checks import (
    Category,
    Check,
    CheckFailedError,
    NotApplicableError,
    Report,
    Result,
    parametrize,
    report_of,
    require,
    run_check,
    run_suite,
    verify,
)

__all__ = [
    "Category",
    "Check",
    "CheckFailedError",
    "NotApplicableError",
    "Report",
    "Result",
    "parametrize",
    "report_of",
    "require",
    "run_check",
    "run_suite",
    "verify",
]
