"""What a run is to do, and what is verified by it: both are the same again when an interrupted run goes on."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.verify import jobs
from rspp.cli.verify.engine import Engine, Level
from rspp.cli.verify.gates import RECORDINGS
from rspp.cli.verify.ground import digest_of, everything, visible
from rspp.cli.verify.plan import PLAN, Chosen
from rspp.cli.verify.verdict import output_name
from rspp.manifest.document import VAL_REPORT, Routing

ROLE: Final = "VAL"
VALIDATOR: Final = "KEY:VAL.VERIFY"
GROUND_OUTPUT: Final = "GROUND"
GROUND_FILE: Final = "ground.json"
VERIFY_REPORT: Final = "VERIFY_REPORT"
PIPE: Final = "KEY:PIPE.VERIFY."
# The options that name a folder which an engine reads.
FOLDERS: Final = ("advisories", "corpus", "recordings")
DISTRIBUTION: Final = (".dist-info", ".egg-info")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is to do."""

    folder: Path
    level: Level
    chosen: Chosen
    no_go: tuple[str, ...]
    say: Callable[[str, str], None]  # an engine's name, or "", and a sentence
    timeout_s: float
    go_on: bool = False  # after the first failure
    resume: bool = False
    options: Mapping[str, Any] = {}
    plan: tuple[Engine, ...] = PLAN
    plan_at: str = jobs.PLAN_AT
    paths: tuple[str, ...] = ()
    # What this run itself writes, should it lie in the folder: beginnings of names, relative to it.
    own: tuple[str, ...] = ()


class Surveyed(msgspec.Struct, frozen=True, kw_only=True):
    """The files that are verified, as they were at the beginning of a step."""

    project: str
    level: Level
    digest: str
    files: int
    # What was named beside the folder (--recordings, --corpus, --advisories), by what is in it.
    named: Mapping[str, str] = {}
    # The interpreter and the packages that look: by others, a report would say something else.
    packages: str = ""


def survey(asked: Asked) -> Surveyed:
    """The files as they are now, and those that look at them."""
    files = tuple(name for name in visible(asked.folder) if not name.startswith(asked.own))
    named = {name: Path(str(asked.options[name])) for name in FOLDERS if name in asked.options}
    # A project's recordings are judged whoever ignores them.
    if RECORDINGS not in named and (asked.folder / RECORDINGS).is_dir():
        named[RECORDINGS] = asked.folder / RECORDINGS
    return Surveyed(
        project=asked.folder.resolve().name,
        level=asked.level,
        digest=digest_of(asked.folder, files),
        files=len(files),
        named={name: digest_of(path, everything(path)) for name, path in named.items()},
        packages=_packages(),
    )


def _packages() -> str:
    """Every installed package with its version, as the folders of this interpreter call them."""
    found = [platform.python_version()]
    for place in sys.path:
        home = Path(place)
        found += [one.name for one in home.iterdir() if one.suffix in DISTRIBUTION] if home.is_dir() else []
    return hashlib.sha256("\n".join(sorted(found)).encode("utf-8", "surrogateescape")).hexdigest()


def routing(asked: Asked) -> Routing:
    """What the step needs for PASS: under `full` also what was left out, which makes PASS impossible."""
    engines = (*asked.chosen.asked, *(asked.chosen.left_out if asked.level == "full" else ()))
    return Routing(
        DOMAIN="SYS",
        ARTIFACT_TYPE="VERIFICATION",
        PROFILE_KEY=f"PROFILE.VERIFY.{asked.level.upper()}",
        PIPE_SELECTED=f"{PIPE}{asked.level.upper()}",
        REQUIRED_ROLES=(ROLE,),
        REQUIRED_ENG_KEYS=tuple(one.key for one in engines),
        REQUIRED_VAL_KEYS=(VALIDATOR,),
        OUTPUT_CONTRACT=(VAL_REPORT, VERIFY_REPORT, GROUND_OUTPUT, *map(output_name, engines)),
        NO_GO_LIST=asked.no_go,
    )
