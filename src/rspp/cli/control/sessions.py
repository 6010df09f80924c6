"""`rspp control sessions`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "sessions",
    "What runs where. Orders go to the session's worker, and its answer is what is shown.",
    columns={
        "statuses": (
            "session",
            "state",
            "since_ms",
            "turns",
            "line",
            "missing",
            "pipeline",
            "owner",
            "reason",
        ),
        "list": ("tenant", "session", "state", "pipeline", "worker", "region", "epoch", "opened_wall_ms"),
    },
)
