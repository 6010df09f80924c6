"""What certification asks of each port: the categories that must be there, each with something that passed.

A suite that leaves a category out proves nothing of it, so its omission is a refusal by name, whoever wrote the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """The verdict of each mandatory category: passed, failed, or omitted."""

    port: str
    certified: bool
    verdicts: dict[str, str]


def certify(report: Report, port: str | None = None) -> Certificate:
    """Certified is who passed every mandatory category of its port and failed nothing, mandatory or not."""
    name = port or report.port
    mandatory = MANDATORY.get(name)
    if mandatory is None:
        known = ", ".join(sorted(MANDATORY))
        raise MisuseError(
            "word_unknown", f"there is no profile for the port {name!r}; there are: {known}", "port"
        )
    verdicts = {
        category: _verdict(report, category) for category in dict.fromkeys((*mandatory, *report.categories))
    }
    return Certificate(name, all(verdict == "passed" for verdict in verdicts.values()), verdicts)


def _verdict(report: Report, category: str) -> str:
    found = report.categories.get(category)
    if found is None or not (found.passed or found.failed):
        return "omitted"
    return "failed" if found.failed else "passed"
