"""`rspp control fleet`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "fleet",
    "How the control plane, its fleet and its providers fare; who you are, and what roles there are.",
    columns={
        "health": (
            "provider",
            "state",
            "availability",
            "circuit_open",
            "price",
            "calls",
            "failures",
            "members",
        ),
        "roles": ("role", "permissions"),
    },
)
