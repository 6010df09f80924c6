"""`rspp control providers`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "providers",
    "Provider configs of a tenant, or of the fleet (--tenant '*'): which providers there are, and their settings.",
    columns={
        "list": ("version", "in_force", "author", "created_at_ms", "sha256"),
    },
)
