"""Where runs are kept: a folder each in `<data>/verify`, the newest behind `latest`, and of those that ended the last twenty."""

from __future__ import annotations

import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rspp.cli.verify.engine import Level
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import Manifest

HOME: Final = "verify"
LATEST: Final = "latest"
MANIFEST: Final = "RUNTIME_MANIFEST.yaml"
PREFIX: Final = "verify-"
KEPT_MAX: Final = 20


def fresh_session(level: Level, now_ms: int) -> str:
    """A name that sorts by time and is nobody else's."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    return f"{PREFIX}{at}-{level}-{secrets.token_hex(2)}"


def fresh_folder(data: Path, session: str) -> Path:
    """A new run's folder; `latest` means it from now on."""
    home = data / HOME
    folder = home / session
    folder.mkdir(parents=True)
    # What runs leave behind belongs to nobody's sources.
    if not (home / ".gitignore").exists():
        (home / ".gitignore").write_text("*\n", encoding="utf-8")
    fresh = home / f".{LATEST}-{session}"
    fresh.symlink_to(session)
    fresh.replace(home / LATEST)
    return folder


def latest(data: Path) -> Path:
    """The newest run's folder, or a refusal that says what to do."""
    found = data / HOME / LATEST
    if not (found / MANIFEST).is_file():
        raise MisuseError(
            "verify_no_session", f"there is no run in {HOME} that could go on; run it without --resume"
        )
    return (found.parent / found.readlink()) if found.is_symlink() else found


def prune(data: Path) -> tuple[str, ...]:
    """Delete the oldest runs beyond the last twenty; the names of those that are gone. `latest` stays, and one that is held."""
    home = data / HOME
    runs = sorted(one for one in home.glob(f"{PREFIX}*") if (one / MANIFEST).is_file())
    newest = (home / LATEST).resolve()
    old = [one for one in runs[: max(0, len(runs) - KEPT_MAX)] if one.resolve() != newest]
    return tuple(one.name for one in old if _deleted(one))


def _deleted(run: Path) -> bool:
    """Not while somebody writes in it, and nobody begins to while it goes."""
    try:
        with Manifest(run / MANIFEST, lock_wait_s=0).hold("to delete it"):
            shutil.rmtree(run, ignore_errors=True)
    except RsppError:  # held, or gone under our hands
        pass
    return not run.exists()
