"""A release's settings, for tests of what is decided from them."""

from __future__ import annotations

from rspp.cli.release.settings import Settings

SETTINGS = Settings(
    session="desk@v2-0a1b2c3d",
    pipeline="desk",
    version="v2",
    spec="/nowhere/desk.yaml",
    spec_sha256="0" * 64,
    begun_wall_ms=1_800_000_000_000,
    root="/nowhere",
    corpus="/nowhere/corpus",
)
