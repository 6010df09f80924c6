"""Installed packages for tests: real folders with metadata and records, as an installer leaves them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

LICENCE = "License-Expression: MIT\n"


def install(
    home: Path, name: str, version: str = "1.0", files: Mapping[str, str] | None = None, told: str = LICENCE
) -> Path:
    """Puts a package into the folder, with a record of every file, and gives its metadata's folder back."""
    info = f"{name}-{version}.dist-info"
    texts = {f"{name}/__init__.py": "x = 1\n", **(files or {})}
    texts |= {
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{told}",
        f"{info}/INSTALLER": "pip\n",
    }
    rows = []
    for path, text in texts.items():
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(text)}")
    rows += [f"{info}/RECORD,,", f"{name}/__pycache__/__init__.cpython-311.pyc,,"]
    (home / info / "RECORD").write_text("\n".join(rows) + "\n")
    return home / info
