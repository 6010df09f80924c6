"""The record of a run of work: where it stands, and the proof of what was really executed.

document     the file's sections and keys, as they stand in it
updates      what can be said to it
rules        whether it may be said, and what the document is afterwards (pure)
proofs       what is missing for PASS (pure)
form         a document out of YAML or Markdown and back, with line and key of each fault; prose and comments stay
markdown, tree, shape, splice, routes   what `form` is made of; a step's ROUTING as a file
disk         each thing that is done to a disk; told as a sentence when it says no
lock         one writer; the next is told who holds it and since when
trace        one line an update, each with the digest of the one before: written first, so that a crash loses nothing
changelog    for people
facts        the files of the world, as the rules must know them
checking     everything that is wrong with it, at once
telling      what those who watch are told (`snapshots`, `teller`)
step         a step of work in Python
manifest     all of it together: open one, step by step
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rspp.manifest.manifest import Manifest
from rspp.manifest.step import Step
from rspp.manifest.telling import Tells, WorkSnapshot

__all__ = ["Manifest", "Step", "Tells", "WorkSnapshot", "open_manifest"]


def open_manifest(path: str | Path, **options: Any) -> Manifest:
    """The manifest of a file, or `RUNTIME_MANIFEST.yaml` of a folder; options as for Manifest."""
    found = Path(path)
    return Manifest(found / "RUNTIME_MANIFEST.yaml" if found.is_dir() else found, **options)
