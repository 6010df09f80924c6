"""Which manifest a verb works on, as whom it is told, and how a refusal looks: the same for every verb.

--file FILE     else $RSPP_MANIFEST, else RUNTIME_MANIFEST.yaml here
--root FOLDER   the project's folder, where files that are referred to lie above the manifest's own
--store URL     the store whose journal is told, else $RSPP_STORE, else that of the data folder; --no-journal tells nobody

Exit status, of every verb: 0 done, 1 it was refused or a problem was found, 2 the command was used wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import Status, emit_json, visible
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest.document import Document
from rspp.manifest.faults import ManifestError
from rspp.manifest.manifest import Manifest
from rspp.manifest.refused import Missing, Refused, listed
from rspp.manifest.telling import Tells

FILE_VARIABLE: Final = "RSPP_MANIFEST"
# As in `rspp.cli.control.asking`, which would bring every store along.
STORE_VARIABLE: Final = "RSPP_STORE"
FILE_DEFAULT: Final = Path("RUNTIME_MANIFEST.yaml")
WAIT_S: Final = 2.0
WAIT_S_MAX: Final = 3600.0
EPILOG: Final = (
    "Exit status: 0 done; 1 it was refused, or a problem was found; 2 the command was used wrongly."
)
_FOLDER: Final = click.Path(file_okay=False, exists=True, path_type=Path)
COMMAND: Final = "command"  # what the words behind `--` are called
Run = Callable[..., None]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of a verb say about where it works."""

    file: Path
    root: Path | None = None
    as_json: bool = False
    wait_s: float = WAIT_S
    tells: bool = False  # whether a journal is told; that of the store, else of the data folder
    store: str | None = None
    data: Path | None = None


def place_of(given: dict[str, Any]) -> Place:
    """Takes what names the place out of a verb's options."""
    quiet = given.pop("no_journal", True)
    place = Place(
        file=given.pop("file"),
        root=given.pop("root"),
        as_json=given.pop("as_json"),
        wait_s=given.pop("wait", WAIT_S),
        tells=not quiet,
        store=given.pop("store", None),
        data=given.pop("data", None),
    )
    if quiet and place.data is not None:
        raise click.UsageError("--no-journal tells nobody, so --data names nothing: say one of them.")
    return place


def teller_of(place: Place) -> Tells | None:
    """Imported when there is somebody to tell: it brings the stores along, and what only reads needs none."""
    if not place.tells:
        return None
    teller: Tells = import_module("rspp.cli.manifest.journal").teller(place.store, place.data)
    return teller


def opened(place: Place) -> Manifest:
    """The manifest that is meant, or a sentence about how to begin one. One that is gone still has its trace."""
    silent = Manifest(place.file, root=place.root)
    if not place.file.exists() and next(silent.trace(), None) is None:
        raise ManifestError(
            "manifest_missing",
            f"there is no manifest at {visible(str(place.file))}. Begin one with `rspp manifest init --session NAME`, "
            f"or name another with --file or ${FILE_VARIABLE}.",
        )
    return Manifest(place.file, root=place.root, tells=teller_of(place), lock_wait_s=place.wait_s)


def step_seen(manifest: Manifest) -> str:
    """The step that whoever types this means: it is said to that one, and to no other that may run by then."""
    return manifest.document.CURRENT_STEP.STEP_ID


def must_be(document: Document, step: str) -> None:
    """Refused where somebody went on while the lock was waited for."""
    now = document.CURRENT_STEP.STEP_ID
    if step and step != now:
        raise MisuseError(
            "manifest_no_step_runs",
            f"step {step} is not the present one any more: {now} is. Nothing was changed.",
        )


# ---- options ---------------------------------------------------------------------------------------------------------

READING: Final = (
    click.option(
        "--file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=FILE_VARIABLE,
        show_envvar=True,
        default=FILE_DEFAULT,
        show_default=True,
        help="The manifest: YAML, or Markdown that holds it.",
    ),
    click.option(
        "--root", type=_FOLDER, help="The project's folder, where its files lie above the manifest's."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
)
WRITING: Final = (
    click.option(
        "--store",
        metavar="URL",
        envvar=STORE_VARIABLE,
        show_envvar=True,
        help="The store whose journal is told: sqlite:///FILE or nats://HOST; else that of the data folder.",
    ),
    click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Data folder of the store; else $RSPP_DATA, else .rspp here.",
    ),
    click.option("--no-journal", is_flag=True, help="Tell no journal."),
    click.option(
        "--wait",
        type=click.FloatRange(0, WAIT_S_MAX),
        default=WAIT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait while somebody else writes.",
    ),
)


def reads(run: Run) -> Run:
    """A verb that changes nothing: it is given its `place`, and what is refused ends it with 1."""
    return _placed(run, READING)


def writes(run: Run) -> Run:
    """A verb that changes the manifest: it waits for the lock and tells the journal."""
    return _placed(run, (*READING, *WRITING))


def _placed(run: Run, options: tuple[Callable[[Run], Run], ...]) -> Run:
    @wraps(run)
    def wrapped(**given: Any) -> None:
        _must_be_text(given)
        place = place_of(given)
        with faults(place):
            run(place, **given)

    made: Run = wrapped
    for option in reversed(options):
        made = option(made)
    return made


def _must_be_text(given: Mapping[str, Any]) -> None:
    """What the shell handed over may be any bytes; what is written down is text. A command's own words stay as they are."""
    for name, value in given.items():
        for one in value if isinstance(value, tuple) else (value,):
            if name != COMMAND and isinstance(one, str | Path) and not _is_text(str(one)):
                raise click.UsageError(f"{visible(name)} is no text: it holds a zero byte, or is not UTF-8.")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


# ---- refusals --------------------------------------------------------------------------------------------------------


@contextmanager
def faults(place: Place) -> Iterator[None]:
    """What the manifest refuses is told with all that is missing, and ends with 1."""
    try:
        yield
    except RsppError as error:
        _refused(place, error)
        raise SystemExit(Status.PROBLEM) from error
    except BrokenPipeError:
        raise  # whoever read what is shown has read enough
    except OSError as error:
        # What the answer is written to may be what failed: then the update is on disk already.
        what = f"{visible(str(error.filename))}: " if error.filename else ""
        raise click.ClickException(
            f"{what}{error.strerror or error}. Mend that, and see what was written: `rspp manifest show`."
        ) from error


def _refused(place: Place, error: RsppError) -> None:
    """The code and the sentence, then everything that is missing with what to do about it."""
    missing = error.missing if isinstance(error, Refused) else ()
    faults = error.faults if isinstance(error, ManifestError) else ()
    if place.as_json:
        said = {"code": error.code, "message": error.message, "missing": missing, "faults": faults}
        emit_json({"error": said})
        return
    click.echo(visible(f"Error: {_sentence(error, missing)}"), err=True)
    for one in missing:
        click.echo(visible(f"  {one.what}"), err=True)
        click.echo(visible(f"      {one.fix}"), err=True)


def _sentence(error: RsppError, missing: tuple[Missing, ...]) -> str:
    """Without the list that follows line by line."""
    text = f"{error.code}: {error.message}{f' (field {error.path})' if error.path else ''}"
    if not missing:
        return text
    head, separator, _ = text.partition(f": {listed(missing)}")
    return head if separator else text
