"""Where the journal's commands look: into a store, or at what a server answers to GraphQL.

--store URL                       else control.db in the data folder, of `rspp run --control`, or serve.db, of `rspp serve`
--server URL --token REFERENCE    else $RSPP_CONTROL and $RSPP_TOKEN; the token is named, never typed
What changes the journal, or reads all of it again, works on the store.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote, urlsplit

import click
import msgspec

from rspp.cli.control.asking import SERVER_VARIABLE, STORE_VARIABLE, Whom, request, worded
from rspp.cli.control.noun import WHOM, asking_options, whom_of
from rspp.cli.data_folder import data_folder
from rspp.cli.run_control_options import STORE_FILE
from rspp.cli.serve_settings import SERVED_STORE_FILE
from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.ops.journal.journal import Journal
from rspp.server.surfaces import surfaces

EPILOG: Final = "Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly."
ResultT = TypeVar("ResultT")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])[A-Z]")


def data_option() -> click.Option:
    return click.Option(
        ["--data"],
        type=click.Path(file_okay=False, path_type=Path),
        help="Data folder whose control.db or serve.db is asked; else $RSPP_DATA, else .rspp here.",
    )


def looking_options() -> list[click.Parameter]:
    """Of the commands that a server answers as well."""
    return [data_option(), *asking_options()]


def store_options() -> list[click.Parameter]:
    """Of the commands that work on the store alone."""
    return [
        data_option(),
        click.Option(
            ["--store"],
            envvar=STORE_VARIABLE,
            show_envvar=True,
            help="The store: sqlite:///FILE or nats://HOST.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ]


class Place(msgspec.Struct, frozen=True):
    """What is asked: a server, where `whom` names one, else the store at `store`."""

    whom: Whom
    store: str

    @property
    def is_server(self) -> bool:
        return self.whom.server is not None and self.whom.store is None


def place_of(given: dict[str, Any]) -> Place:
    """Takes what names the place out of a command's options."""
    data = given.pop("data")
    whom = whom_of(**{name: given.pop(name, None) for name in WHOM})
    return Place(whom, whom.store or f"sqlite://{quote(str(_store_file(data_folder(data)).absolute()))}")


def _store_file(folder: Path) -> Path:
    """That of `rspp run --control`, or of `rspp serve` where there is only that."""
    made = [folder / name for name in (STORE_FILE, SERVED_STORE_FILE)]
    return next((one for one in made if one.exists()), made[0])


def whom_of_here(given: dict[str, Any]) -> Whom:
    """The same as somebody to ask: the store of this folder, where nobody else is named."""
    place = place_of(given)
    return place.whom if place.is_server else msgspec.structs.replace(place.whom, store=place.store)


def must_be_there(url: str) -> None:
    """Looking makes no store: an empty one would say that all is well."""
    if url.startswith("sqlite:") and not Path(unquote(urlsplit(url).path)).exists():
        raise click.ClickException(
            f"there is no store at {url}. Begin one with `rspp run PIPELINE --listen --control`, "
            f"name another with --store, or ask a server with --server or ${SERVER_VARIABLE}."
        )


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Journal]:
    """The journal of a store that is there."""
    must_be_there(url)
    store = open_store(url, Secrets())
    try:
        yield Journal(store, surfaces(), MachineClock())
    finally:
        await store.close()


def on_store(url: str, work: Callable[[Journal], Coroutine[Any, Any, ResultT]]) -> ResultT:
    """Do it to the journal of this store; what goes wrong becomes a click error that says what to do."""

    async def main() -> ResultT:
        async with opened(url) as journal:
            return await work(journal)

    try:
        return asyncio.run(main())
    except MisuseError as error:
        raise click.UsageError(worded(error)) from error
    except RsppError as error:
        raise click.ClickException(worded(error)) from error


def on_server(whom: Whom, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the server answers to this query, its names as they are written here."""
    try:
        said = request(whom, "POST", "/graphql", {"query": query, "variables": dict(variables or {})})
        if not isinstance(said, dict) or not isinstance(said.get("data"), dict) or said.get("errors"):
            raise _refused(said)
    except MisuseError as error:
        raise click.UsageError(worded(error)) from error
    except RsppError as error:
        raise click.ClickException(worded(error)) from error
    answer = _renamed(said["data"])
    assert isinstance(answer, dict)
    return answer


def _refused(said: Any) -> RsppError:
    errors = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return PeerFault("control_unreadable", "the server does not answer to GraphQL as this version asks")
    extensions = errors[0].get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    kind = MisuseError if code == "surface_unknown" else PeerFault
    return kind(str(code or "control_unreadable"), str(errors[0].get("message", "")))


def _renamed(value: Any) -> Any:
    """`lastSequence` becomes `last_sequence`, and a whole number is one again; what `metadata` holds stays as it is."""
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    if isinstance(value, dict):
        return {
            _HUMP.sub(lambda found: f"_{found[0].lower()}", key): one if key == "metadata" else _renamed(one)
            for key, one in value.items()
        }
    return int(value) if isinstance(value, float) and value.is_integer() else value


def command_of(
    name: str, run: Callable[..., None], words: str, params: Sequence[click.Parameter]
) -> click.Command:
    return click.Command(
        name,
        callback=run,
        help=words,
        short_help=words.partition("\n")[0],
        params=list(params),
        epilog=EPILOG,
    )
