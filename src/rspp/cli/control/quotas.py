"""`rspp control quotas`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "quotas",
    "How much of everything a tenant may have, and all together (--tenant '*').",
    columns={"list": ("tenant", "limits", "each", "author", "reason", "at_ms")},
)
