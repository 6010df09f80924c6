"""`rspp control approvals`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "approvals",
    "Changes that wait for the consent of somebody other than who proposed them.",
    columns={
        "list": (
            "proposal",
            "operation",
            "target",
            "tenant",
            "state",
            "author",
            "decided_by",
            "created_at_ms",
        )
    },
)
