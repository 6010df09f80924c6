"""`rspp control principals`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "principals",
    "Who is known to the control plane, with which roles where.",
    columns={
        "list": ("principal", "roles"),
    },
)
