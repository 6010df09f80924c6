"""`rspp control work`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "work",
    "Work sessions of the manifest.",
    columns={"list": ("id", "state", "step", "goal", "steps_done", "steps", "author", "updated_at_ms")},
)
