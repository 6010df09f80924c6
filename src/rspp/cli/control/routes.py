"""`rspp control routes`."""

from __future__ import annotations

from rspp.cli.control.noun import noun

command = noun(
    "routes",
    "Where a caller goes, and the short-lived token that opens one session there and nowhere else.",
)
