"""`rspp control rollout`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "rollout",
    "Which version new sessions get. Sessions that run are not touched by any of this.",
)
