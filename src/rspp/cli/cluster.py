"""`rspp cluster`: a real store of three servers on this machine, for development and for trying what breaks."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import emit_json, print_table
from rspp.contract.errors import MisuseError, RsppError
from rspp.testing.cluster import NatsCluster
from rspp.testing.cluster_files import Node, private_folder, write_private

EPILOG: Final = "Exit status: 0 all is well, 1 it is not, 2 the command was used wrongly."
FOLDER: Final = Path(".rspp/cluster")
RUNNING: Final = "running.json"
LOCK: Final = "running.lock"
# A cluster that was asked to stop ends its nodes one after the other, each within its own bound.
STOP_S_MAX: Final = 40.0
POLL_S: Final = 0.1

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Where data, passwords, logs stay.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


class Running(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster that runs: whose it is and where its nodes are."""

    pid: int
    store: str
    nodes: tuple[Node, ...]


@click.group()
def command() -> None:
    """Run a replicated store on this machine; look at it; stop it.

    \b
    Three real JetStream servers on loopback, with passwords of their own. Kill one, and the
    others elect a leader within seconds; nothing that was acknowledged is lost. For production
    run such servers on three machines and give their addresses: docs/stores.md says how.
    """


@command.command(epilog=EPILOG)
@folder_option
@click.option(
    "--nodes", type=click.Choice(["1", "3"]), default="3", show_default=True, help="How many servers."
)
@click.option("--ports", help="Ports for callers, one a node: 4222,4223,4224. Without it, free ones.")
@json_option
def dev(folder: Path, nodes: str, ports: str | None, as_json: bool) -> None:
    """Start the servers and keep them running until Ctrl-C, SIGTERM or `rspp cluster stop`.

    \b
    Data stays in the folder: started there again, everything is as it was.

    Examples:
        rspp cluster dev
        rspp cluster dev --nodes 1 --ports 4222
        rspp serve --store "$(rspp cluster status --json | jq -r .store)"
    """
    chosen = None if ports is None else _ports(ports)
    with _told(folder), _alone(folder):
        cluster = NatsCluster(folder, int(nodes), ports=chosen)
        asyncio.run(_run(cluster, as_json))


@command.command(epilog=EPILOG)
@folder_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say which nodes answer, which one leads, and how far each stream's replicas are behind."""
    with _told(folder):
        running = _running(folder)
        found = asyncio.run(_looked(folder, running))
    up = all(node["up"] for node in found["nodes"])
    if as_json:
        emit_json(found)
    else:
        print_table(
            ("node", "address", "up", "leads"),
            [(one["name"], one["url"], _yes(one["up"]), _yes(one["leads"])) for one in found["nodes"]],
        )
        rows = [
            (one["name"], one["leader"] or "none", str(one["messages"]), str(one["bytes"]), _lags(one["lag"]))
            for one in found["streams"]
        ]
        print_table(("stream", "leader", "messages", "bytes", "behind"), rows)
        click.echo(f"store: {running.store}")
    if not up or found["leader"] is None:
        raise click.exceptions.Exit(1)


@command.command(epilog=EPILOG)
@folder_option
def stop(folder: Path) -> None:
    """Stop the cluster that runs in the folder. Its data stays."""
    with _told(folder):
        running = _running(folder)
        os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        while _is_locked(folder):
            if time.monotonic() > deadline:
                raise click.ClickException(f"process {running.pid} did not end within {STOP_S_MAX:g} s")
            time.sleep(POLL_S)
    click.echo("stopped")


async def _run(cluster: NatsCluster, as_json: bool) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    began = loop.time()
    if not as_json:
        click.echo(f"starting {len(cluster.nodes)} nodes in {cluster.folder} ...")
    starting = asyncio.ensure_future(cluster.start())
    stopping = asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _say_ready(cluster, loop.time() - began, as_json)
            await stopping
            if not as_json:
                click.echo("stopping ...")
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait([starting, stopping])
        (cluster.folder / RUNNING).unlink(missing_ok=True)
        await cluster.close()


def _say_ready(cluster: NatsCluster, took_s: float, as_json: bool) -> None:
    running = Running(pid=os.getpid(), store=cluster.store_url, nodes=tuple(cluster.nodes))
    write_private(cluster.folder / RUNNING, msgspec.json.encode(running).decode())
    if as_json:
        emit_json(running)
        return
    print_table(("node", "address"), [(node.name, node.url) for node in cluster.nodes])
    click.echo(f"ready after {took_s:.1f} s")
    click.echo(f"\nstore: {cluster.store_url}\n")
    click.echo("next, in another terminal:")
    click.echo(f"  rspp serve --store '{cluster.store_url}'")
    click.echo("  rspp cluster status")
    click.echo("  rspp cluster stop      (or Ctrl-C here)")


async def _looked(folder: Path, running: Running) -> dict[str, Any]:
    cluster = NatsCluster(folder, len(running.nodes), ports=[node.port for node in running.nodes])
    states = await cluster.states()
    leaders = {state.get("meta_cluster", {}).get("leader") for state in states.values()} - {None}
    leader = leaders.pop() if len(leaders) == 1 else None
    if len(running.nodes) == 1 and states:
        leader = running.nodes[0].name
    nodes = [
        {"name": node.name, "url": node.url, "up": node.name in states, "leads": node.name == leader}
        for node in running.nodes
    ]
    streams = [_stream(one) for one in (await cluster.streams() if leader else ())]
    return {"store": running.store, "pid": running.pid, "leader": leader, "nodes": nodes, "streams": streams}


def _stream(found: dict[str, Any]) -> dict[str, Any]:
    place, state = found.get("cluster") or {}, found.get("state") or {}
    lag = {one["name"]: int(one.get("lag") or 0) for one in place.get("replicas") or ()}
    return {
        "name": found["config"]["name"],
        "leader": place.get("leader"),
        "messages": state.get("messages", 0),
        "bytes": state.get("bytes", 0),
        "lag": lag,
    }


def _running(folder: Path) -> Running:
    path = folder / RUNNING
    if not path.exists() or not _is_locked(folder):
        raise MisuseError(
            "cluster_stopped", f"no cluster runs in {folder}; start one with `rspp cluster dev`"
        )
    try:
        return msgspec.json.decode(path.read_bytes(), type=Running)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MisuseError("malformed", f"{path}: {error}") from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The lock ends with the process, however it ends: a file that names a dead cluster deceives nobody."""
    path = private_folder(folder) / LOCK
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MisuseError("cluster_running", f"a cluster runs in {folder} already") from None
        yield


def _is_locked(folder: Path) -> bool:
    path = folder / LOCK
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What is wrong ends the command with a sentence."""
    try:
        yield
    except RsppError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(f"{folder}: {error.strerror or error}") from error


def _ports(text: str) -> list[int]:
    try:
        ports = [int(one) for one in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--ports wants numbers with commas between, not {text!r}") from None
    if any(not 1 <= port <= 65_535 for port in ports):
        raise click.UsageError("a port is from 1 to 65535")
    return ports


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _lags(lag: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in lag.items()) or "none"
