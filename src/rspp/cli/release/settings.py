"""What a release is to do, said once and kept beside its manifest: whoever resumes it says nothing of that again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from rspp.contract.errors import MisuseError

FILE: Final = "plan.json"
BYTES_MAX: Final = 1_048_576
TENANTS_MAX: Final = 1_000
OBSERVE_MS_MAX: Final = 7 * 24 * 3_600_000
Share = Annotated[float, Meta(ge=0, le=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The release, as it was begun. Files are named in full: it is resumed from any folder."""

    session: str  # the manifest's, and what the reason of every change says
    pipeline: str
    version: str
    spec: str
    spec_sha256: str
    begun_wall_ms: int
    root: str  # references of the manifest are below it
    strict: bool = True
    corpus: str
    recordings: tuple[str, ...] = ()
    gates: str = ""  # a report of `rspp gates`, instead of recordings
    any_gates: bool = False  # also of recordings of other pipelines
    nodes: tuple[str, ...] = ()
    canary_percent: Annotated[int, Meta(ge=0, le=100)] = 10
    tenants: Annotated[tuple[str, ...], Meta(max_length=TENANTS_MAX)] = ()
    direct: bool = False
    observe_ms: Annotated[int, Meta(ge=0, le=OBSERVE_MS_MAX)] = 600_000
    every_ms: Annotated[int, Meta(ge=10, le=600_000)] = 5_000
    sessions_min: Annotated[int, Meta(ge=0)] = 20
    errors_max: Share = 0.01
    aborts_max: Share = 1.0
    require_approval: bool = False
    pause: bool = False

    @property
    def ref(self) -> str:
        return f"{self.pipeline}@{self.version}"

    @property
    def reason(self) -> str:
        """Why every change of this release is asked for: the audit log and the rollout's history know it again by this."""
        return f"release {self.session}"


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def release_folder(data: Path, pipeline: str, version: str) -> Path:
    return data / "releases" / pipeline / version


def read(folder: Path) -> Settings:
    """The settings of the release in this folder; raises MisuseError `release_unreadable`."""
    path = folder / FILE
    try:
        if path.stat().st_size > BYTES_MAX:
            raise MisuseError("release_unreadable", f"{path.name} has more than {BYTES_MAX} bytes")
        return msgspec.json.decode(path.read_bytes(), type=Settings)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError(
            "release_unreadable", f"{path.name} in {folder.name} is no release's: {error}"
        ) from error


def found(data: Path, name: str) -> Path:
    """The folder of the release that NAME or NAME@VERSION means; of a name alone, the one begun last."""
    pipeline, _, version = name.partition("@")
    if "/" in name or "\\" in name or pipeline.startswith(".") or version.startswith("."):
        raise MisuseError("release_unknown", f"{name!r} is not like NAME or NAME@VERSION")
    if version:
        folder = release_folder(data, pipeline, version)
        if not (folder / FILE).is_file():
            raise MisuseError("release_unknown", f"no release of {name} was begun in {data}")
        return folder
    folders = [
        path.parent
        for path in (data / "releases" / pipeline).glob(f"*/{FILE}")
        if "~" not in path.parent.name
    ]
    if not folders:
        raise MisuseError("release_unknown", f"no release of {name} was begun in {data}")
    return max(folders, key=lambda one: (read(one).begun_wall_ms, one.name))
