"""`rspp control regions`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "regions",
    "Regions' switches, and where a tenant's sessions may be processed and kept.",
    columns={
        "list": ("name", "mode", "reason", "author", "automatic", "pinned", "incident"),
        "jurisdictions": ("name", "regions", "author", "reason"),
    },
)
