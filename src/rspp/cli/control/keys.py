"""`rspp control keys`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "keys",
    "The keys that tokens and seals are signed with. Private halves lie in the folder of --keys and nowhere else.",
    columns={
        "list": (
            "key",
            "state",
            "holder",
            "created_at_ms",
            "activates_at_ms",
            "retires_at_ms",
            "over_age_at_ms",
        ),
    },
)
