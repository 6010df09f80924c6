"""What certification asks of each port: the categories that must be there, each with something that passed.

A suite that leaves a category out proves nothing of it, so its omission is a refusal by name, whoever wrote the suite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.testing.conformance.checks import Report

# What holds for every call, whoever answers it.
_CALLS: Final = ("lifecycle", "outcome", "output", "cancellation", "isolation")
MANDATORY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "provider": ("identity", *_CALLS),
        "provider.stt": ("identity", *_CALLS, "finalise"),
        "provider.llm": ("identity", *_CALLS, "backpressure"),
        "provider.tts": ("identity", *_CALLS, "backpressure"),
        "provider.vad": ("identity", *_CALLS),
        "provider.end_of_turn": ("identity", *_CALLS),
        "provider.external": ("identity", *_CALLS),
        "node": ("lifecycle", "output", "determinism", "cancellation", "isolation", "bounds"),
        "async_node": _CALLS,
        "transport": ("session", "ingress", "egress", "line", "ending"),
        "recorder": ("evidence", "refusal", "isolation"),
        "clock": ("units", "order", "pace"),
        "inference": ("results", "order", "isolation"),
        "store": (
            "keys",
            "revisions",
            "compare_and_set",
            "time_to_live",
            "watch",
            "log",
            "blobs",
            "bounds",
            "lifecycle",
        ),
        "lane_scheduler": ("order", "priority", "fairness", "removal"),
        "pool_strategy": ("order", "removal", "fairness"),
    }
)


class Certificate(msgspec.Struct, frozen=True):
    """The verdict of each mandatory category: passed, failed, not run to its end, or omitted."""

    port: str
    certified: bool
    verdicts: dict[str, str]


def certify(report: Report, port: str | None = None, more: Sequence[str] = ()) -> Certificate:
    """Certified is who passed every mandatory category of its port and failed nothing, mandatory or not.

    `more` makes other categories mandatory too; none can be taken away.
    """
    name = port or report.port
    mandatory = (*mandatory_of(name), *more)
    verdicts = {
        category: _verdict(report, category) for category in dict.fromkeys((*mandatory, *report.categories))
    }
    return Certificate(name, all(verdict == "passed" for verdict in verdicts.values()), verdicts)


def mandatory_of(port: str) -> tuple[str, ...]:
    """The categories without which nothing is certified for this port."""
    mandatory = MANDATORY.get(port)
    if mandatory is None:
        known = ", ".join(sorted(MANDATORY))
        raise MisuseError(
            "word_unknown", f"there is no profile for the port {port!r}; there are: {known}", "port"
        )
    return mandatory


def _verdict(report: Report, category: str) -> str:
    found = report.categories.get(category)
    if found is None or not (found.passed or found.failed or found.not_run):
        return "omitted"
    if found.failed:
        return "failed"
    return "not_run" if found.not_run else "passed"
