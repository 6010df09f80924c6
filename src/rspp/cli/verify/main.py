"""`rspp verify quick|full|security [FOLDER]`: look for faults of every kind, under a manifest that proves what was run."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.data_folder import data_folder
from rspp.cli.manifest.journal import teller
from rspp.cli.manifest.place import STORE_VARIABLE
from rspp.cli.output import Status, emit_json, visible, write_bytes, write_text
from rspp.cli.run_control_options import STORE_FILE
from rspp.cli.serve_settings import SERVED_STORE_FILE
from rspp.cli.verify import jobs, keeping, view
from rspp.cli.verify.asked import FOLDERS, PIPE, Asked
from rspp.cli.verify.engine import OWN, Ground, Level
from rspp.cli.verify.ground import is_checkout, layers, pipelines
from rspp.cli.verify.plan import LEVELS, PLAN, TIMEOUT_S, chosen
from rspp.cli.verify.report import VerifyReport, junit
from rspp.cli.verify.run import verify
from rspp.contract.errors import RsppError
from rspp.manifest import Manifest
from rspp.manifest.telling import Tells

PATTERNS_MAX: Final = 200
# What must stay as it is while it is verified; that every other file does too is asked by the digest of all.
CHECKOUT_NO_GO: Final = (
    "./src/**/*.py",
    "./pyproject.toml",
    "./requirements.lock",
    "./examples/**",
    "./docs/reference/**",
    "./tests/contract/released/**",
    "./tests/replay/journals/**",
)
LOCKS: Final = (
    "pyproject.toml",
    "requirements.lock",
    "requirements.txt",
    "uv.lock",
    "poetry.lock",
    "package-lock.json",
    "verify.yaml",
)
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_NAMES: Final = click.Choice([one.name for one in PLAN])


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The options, as they came."""

    level: Level | None
    folder: Path
    go_on: bool
    only: tuple[str, ...]
    skip: tuple[str, ...]
    resume: bool
    as_json: bool
    out: Path | None
    junit: Path | None
    work: Path | None
    timeout: float | None
    show_list: bool
    recordings: Path | None
    corpus: Path | None
    advisories: Path | None
    store: str | None
    no_journal: bool


@click.command(
    name="verify",
    epilog="Exit status: 0 PASS; 1 FAIL or STOP_GAP, or the run was refused; 2 the command was used wrongly.",
)
@click.argument("level", required=False, type=click.Choice(LEVELS))
@click.argument("folder", default=".", type=_FOLDER)
@click.option("--all", "go_on", is_flag=True, help="Go on after a failure; else the first one ends the run.")
@click.option(
    "--only", multiple=True, type=_NAMES, metavar="ENGINE", help="Run this engine alone; again for more."
)
@click.option(
    "--skip", multiple=True, type=_NAMES, metavar="ENGINE", help="Leave this engine out; again for more."
)
@click.option("--resume", is_flag=True, help="Go on with the last run, or with that of --work.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the report here too.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write a JUnit file too.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where manifest and reports go; else a new folder in the data folder's `verify`.",
)
@click.option(
    "--timeout", type=click.FloatRange(min=1), metavar="SECONDS", help="So long an engine may take."
)
@click.option(
    "--list", "show_list", is_flag=True, help="Say what each level runs, and what of it applies here."
)
@click.option("--recordings", type=_FOLDER, help="Judge these by the gates, and record none.")
@click.option("--corpus", type=_FOLDER, help="Do these recordings again, and not the folder's own.")
@click.option("--advisories", type=_FOLDER, help="Known faults of packages, as OSV files (JSON).")
@click.option(
    "--store",
    metavar="URL",
    envvar=STORE_VARIABLE,
    show_envvar=True,
    help="The store whose journal is told of the run; else that of the data folder.",
)
@click.option("--no-journal", is_flag=True, help="Tell no journal.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Verify FOLDER, a checkout of RSPP or a project with pipelines, recordings, a lock file.

    What applies is decided by what is there. Each run is a step of a runtime manifest: PASS needs a report of every engine
    that applies, over files that stayed the same. `quick` takes a minute, `full` is what a release rests on, `security` looks
    at what the project is made of.

    \b
    Examples:
        rspp verify quick
        rspp verify full --all --junit verify.xml
        rspp verify security my-project --only secrets
        rspp verify full --resume
        rspp verify --list
    """
    asked = Given(**given)
    if asked.show_list:
        levels = (asked.level,) if asked.level else LEVELS
        rows = view.listing(PLAN, [_ground(asked, level) for level in levels])
        if asked.as_json:
            emit_json(rows)
        else:
            view.show_listing(rows, asked.level)
        return
    # What is verified may be where this very program comes from: no compiled file shall appear in it.
    sys.dont_write_bytecode = True
    context.exit(_run(asked))


def _run(given: Given) -> Status:
    try:
        _check(given)
        level, manifest = _begun(given)
        where = manifest.folder
        report = verify(_asked(given, level, where), manifest)
    except RsppError as error:
        _refused(given, error)
        return Status.PROBLEM
    except OSError as error:  # a full disk, a folder that may not be written
        click.echo(visible(f"Error: {error}. Mend that; `--resume` goes on where this ended"), err=True)
        return Status.PROBLEM
    except KeyboardInterrupt:
        click.echo("\ninterrupted; `--resume` goes on where this ended", err=True)
        return Status.PROBLEM
    if given.work is None:
        keeping.prune(data_folder(None))
    _told(given, report, where)
    return Status.OK if report.verdict == "pass" else Status.PROBLEM


def _check(given: Given) -> None:
    """What cannot be meant is refused before anything is written."""
    try:
        jobs.check_own(given.folder)
    except SystemExit as other:
        raise click.UsageError(f"{other}: run it with its own, PYTHONPATH={given.folder / 'src'}") from other
    work = given.work
    if work is None or not work.is_dir():
        return
    if work.resolve() == given.folder.resolve():
        raise click.UsageError(
            "--work is the folder that is verified: name another one for what the run writes"
        )
    strange = [one.name for one in work.iterdir() if not one.name.lstrip(".").startswith("RUNTIME_MANIFEST")]
    if strange and not (work / keeping.MANIFEST).exists():
        raise click.UsageError(
            f"--work has {visible(strange[0])} in it and no run: name a new folder, an empty one, or that of a run"
        )


def _begun(given: Given) -> tuple[Level, Manifest]:
    """The level, and the manifest of a new run or of the one that goes on."""
    data = data_folder(None)
    if given.resume:
        folder = given.work or keeping.latest(data)
        manifest = Manifest(folder / keeping.MANIFEST, root=given.folder, tells=_teller(given))
        return _level(given, manifest.document.ROUTING.PIPE_SELECTED), manifest
    level = _level(given, "")
    session = keeping.fresh_session(level, time.time_ns() // 1_000_000)
    if given.work is not None and (given.work / keeping.MANIFEST).exists():
        return level, Manifest(given.work / keeping.MANIFEST, root=given.folder, tells=_teller(given))
    if given.work is None:
        folder = keeping.fresh_folder(data, session)
    else:
        folder = given.work
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / keeping.MANIFEST
    return level, Manifest.create(path, session=session, root=given.folder, tells=_teller(given))


def _teller(given: Given) -> Tells | None:
    """Whoever watches is told of each update; a journal that cannot be reached fails no run."""
    return None if given.no_journal else teller(given.store, None)


def _level(given: Given, pipe: str) -> Level:
    """As it was said, else that of the run that goes on."""
    known = {f"{PIPE}{level.upper()}": level for level in LEVELS}.get(pipe)
    level = given.level or known
    if level is None:
        raise click.UsageError(f"say which level: {', '.join(LEVELS)}; --list says what each runs")
    if known is not None and known != level:
        raise click.UsageError(f"the run that would go on is {known}, not {level}")
    at_level = {one.name for one in PLAN if level in one.levels}
    for name in given.only:
        if name not in at_level:
            raise click.UsageError(f"{name} is no engine of {level}: --list says which are")
    return level


def _ground(given: Given, level: Level) -> Ground:
    return Ground(
        folder=given.folder.resolve(), out=Path(), level=level, say=lambda _: None, options=_options(given)
    )


def _options(given: Given) -> Mapping[str, Any]:
    named = {name: getattr(given, name) for name in FOLDERS}
    return {name: str(path.resolve()) for name, path in named.items() if path is not None}


def _asked(given: Given, level: Level, work: Path) -> Asked:
    ground = _ground(given, level)
    data = data_folder(None)
    stores = (data / STORE_FILE, data / SERVED_STORE_FILE)  # with what the database puts beside them
    own = _inside(ground.folder, f"{work}/", *stores, f"{data / keeping.HOME}/")
    return Asked(
        folder=ground.folder,
        level=level,
        chosen=chosen(PLAN, ground, given.only, given.skip),
        no_go=no_go(ground.folder),
        say=view.progress(),
        timeout_s=given.timeout or TIMEOUT_S[level],
        go_on=given.go_on,
        resume=given.resume,
        options={**ground.options, OWN: list(own)},
        own=own,
    )


def _inside(folder: Path, *paths: str | Path) -> tuple[str, ...]:
    """How those begin that lie in the folder; one that ends with `/` means all that is below."""
    found: list[str] = []
    for one in paths:
        path = Path(one).resolve()
        if path != folder and path.is_relative_to(folder):
            found.append(path.relative_to(folder).as_posix() + ("/" if str(one).endswith("/") else ""))
    return tuple(found)


def no_go(folder: Path) -> tuple[str, ...]:
    """The project's own sources and locks: a run that changes one of them has verified something else."""
    if is_checkout(folder):
        return CHECKOUT_NO_GO
    specs = [path.relative_to(folder).as_posix() for path in (*pipelines(folder), *layers(folder))]
    locks = [name for name in LOCKS if (folder / name).is_file()]
    plain = [name for name in (*locks, *specs) if not set(name) & set("*?[")]
    return tuple(f"./{name}" for name in plain[:PATTERNS_MAX])


def _told(given: Given, report: VerifyReport, where: Path) -> None:
    data = msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2) + b"\n"
    if given.out is not None:
        write_bytes(given.out, data)
    if given.junit is not None:
        write_text(given.junit, junit(report))
    if given.as_json:
        emit_json(report)
    else:
        view.show(report, str(where), _again(given, report.level))


def _again(given: Given, level: Level) -> str:
    """The command that goes on with this run: what was said of it before must be said again."""
    words = ["rspp", "verify", level]
    words += [str(given.folder)] if given.folder != Path() else []
    for name in ("only", "skip"):
        words += [word for engine in getattr(given, name) for word in (f"--{name}", engine)]
    for name in ("work", *FOLDERS):
        value = getattr(given, name)
        words += [f"--{name}", str(value)] if value is not None else []
    return shlex.join([*words, "--resume"])


def _refused(given: Given, error: RsppError) -> None:
    if given.as_json:
        emit_json({"error": {"code": error.code, "message": error.message}})
    click.echo(visible(f"Error: {error}"), err=True)
