"""`rspp control policies`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "policies",
    "Policies of a tenant, or of the fleet (--tenant '*'): which provider serves whom, what is put in, what is bound.",
    columns={
        "list": ("version", "in_force", "author", "created_at_ms", "sha256"),
    },
)
