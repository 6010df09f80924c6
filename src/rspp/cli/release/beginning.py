"""A release begins: its settings are fixed before its manifest is made, and an older one of that version is not run over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any

from rspp.cli.problems import text_of
from rspp.cli.release.reports import as_json
from rspp.cli.release.settings import FILE, Settings, read, release_folder, sha256_of
from rspp.cli.release.steps import StepName
from rspp.cli.release.work import Work, root_of
from rspp.contract.errors import MisuseError
from rspp.manifest.document import StepStatus
from rspp.spec import load

OLD_MAX = 1_000


def settings_for(spec: Path, corpus: Path, wall_ms: int, **more: Any) -> Settings:
    """The release that this spec means; raises MisuseError where it does not even say what it is of."""
    text = text_of(spec)
    found = load(text, file=spec.name).spec
    if found is None:
        raise MisuseError(
            "release_spec_invalid", f"{spec.name} does not say which pipeline it is: rspp lint {spec.name}"
        )
    spec, corpus = Path(os.path.realpath(spec)), Path(os.path.realpath(corpus))
    return Settings(
        session=f"{found.pipeline}@{found.version}-{token_hex(4)}",
        pipeline=found.pipeline,
        version=found.version,
        spec=str(spec),
        spec_sha256=sha256_of(spec.read_bytes()),
        begun_wall_ms=wall_ms,
        root=str(root_of(spec, corpus)),
        corpus=str(corpus),
        **more,
    )


def begun(data: Path, settings: Settings) -> Path:
    """The folder of this release, its settings in it; raises MisuseError where one of this version stands there already."""
    folder = release_folder(data, settings.pipeline, settings.version)
    folder.mkdir(parents=True, exist_ok=True)
    path, beside = folder / FILE, folder / f".{FILE}.{os.getpid()}"
    beside.write_bytes(as_json(settings))
    try:
        os.link(beside, path)  # never over one that is there: two who begin at once are one, and one refused
    except FileExistsError as error:
        ref = read(folder).ref
        raise MisuseError(
            "release_begun",
            f"a release of {ref} was begun already: rspp release status {ref}, rspp release resume {ref}; "
            "or begin again with --restart",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return folder


def set_aside(
    data: Path, settings: Settings, opened: Callable[[Path, Settings], Work], *, restart: bool
) -> Path | None:
    """The record of an older release of this version, kept under another name, where it may be done anew.

    It may without a word where the older one failed, or is of another text that was never published. One that goes on is set
    aside only by `restart`. What was published stays what it is: another text is another version.
    """
    folder = release_folder(data, settings.pipeline, settings.version)
    if not (folder / FILE).is_file():
        return None
    old = read(folder)
    work = opened(folder, old)
    if not work.is_begun:
        return _moved(folder) if restart else None
    with work.held(f"set {old.ref} aside"):
        so_far = work.attempts()
        published = any(one.name is StepName.PUBLISH and one.passed for one in so_far)
        same = old.spec_sha256 == settings.spec_sha256
        if published and not same:
            message = f"{old.ref} was published with other content, and stays what it is: take a new version"
            raise MisuseError("release_published", message)
        result = so_far[-1].result if so_far else None
        failed = result is not None and result.status is StepStatus.FAIL
        return _moved(folder) if restart or not same or (failed and not published) else None


def _moved(folder: Path) -> Path:
    for number in range(1, OLD_MAX):
        aside = folder.with_name(f"{folder.name}~{number}")
        if not aside.exists():
            return folder.rename(aside)
    raise MisuseError("release_begun", f"{OLD_MAX} older releases of this version are kept; remove some")
