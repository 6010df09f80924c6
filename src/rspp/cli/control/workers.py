"""`rspp control workers`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "workers",
    "The processes of the fleet.",
    columns={
        "list": (
            "worker",
            "kind",
            "state",
            "ready",
            "region",
            "sessions",
            "capacity",
            "load",
            "endpoint",
            "reasons",
        ),
    },
)
