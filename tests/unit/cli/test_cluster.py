"""`rspp cluster` starts real servers, says what to do next, tells how they are, and leaves none behind."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.cli.cluster import Running, command
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster
from rspp.testing.cluster_files import free_ports

PROGRAM = "from rspp.cli.cluster import command; command()"


def called(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [
        "dev",
        "--nodes",
        "1",
        "--json",
        "--folder",
        str(tmp_path / "c"),
        "--ports",
        str(free_ports(1)[0]),
    ]
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)


def document(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The one JSON document that it prints when it is ready; it prints no more until its end."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended before it was ready"
    return dict(json.loads("".join(lines)))


@pytest.mark.slow
def test_a_cluster_is_started_looked_at_used_and_stopped(dev: subprocess.Popen[str], tmp_path: Path) -> None:
    folder = tmp_path / "c"
    running = document(dev)

    async def use() -> None:
        store = open_store(running["store"], Secrets())
        await store.put("b", "k", b"1")
        await store.close()

    asyncio.run(use())
    again = called("dev", "--folder", folder)
    assert (again.exit_code, "runs in" in again.output) == (1, True)
    told = called("status", "--folder", folder, "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.output)
    assert [(node["name"], node["up"], node["leads"]) for node in found["nodes"]] == [("n1", True, True)]
    assert [(one["name"], one["messages"]) for one in found["streams"]] == [("rspp_keys", 1)]
    assert (folder / "client.password").read_text() not in told.output
    for path in folder.glob("*.password"):
        assert path.stat().st_mode & 0o077 == 0
    assert "rspp_keys" in called("status", "--folder", folder).output
    stopped = called("stop", "--folder", folder)
    assert (stopped.exit_code, stopped.output) == (0, "stopped\n")
    assert dev.wait(10) == 0
    over = called("status", "--folder", folder)
    assert (over.exit_code, "rspp cluster dev" in over.output) == (1, True)


def test_where_nothing_runs_status_and_stop_say_how_to_begin(tmp_path: Path) -> None:
    for word in ("status", "stop"):
        told = called(word, "--folder", tmp_path)
        assert told.exit_code == 1
        assert "rspp cluster dev" in told.output


def test_a_file_that_names_a_dead_cluster_deceives_nobody(tmp_path: Path) -> None:
    running = Running(pid=1, store="nats://a", nodes=())
    (tmp_path / "running.json").write_bytes(msgspec.json.encode(running))
    (tmp_path / "running.lock").touch()
    assert called("stop", "--folder", tmp_path).exit_code == 1


@pytest.mark.parametrize("ports", ["1,2", "a,b,c", "1,1,1", "0,1,2", "1,2,70000", ""])
def test_ports_that_are_none_are_refused(ports: str, tmp_path: Path) -> None:
    told = called("dev", "--folder", tmp_path / "c", "--ports", ports)
    assert told.exit_code in (1, 2)
    assert not list(tmp_path.glob("c/n*.conf"))


def test_a_folder_for_three_nodes_is_not_served_by_one(tmp_path: Path) -> None:
    (tmp_path / "size").write_text("3")
    told = called("dev", "--folder", tmp_path, "--nodes", "1")
    assert told.exit_code == 1
    assert "made for 3" in told.output


def test_a_port_that_somebody_has_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with NatsCluster(tmp_path / "one", 1) as cluster:
            told = await asyncio.to_thread(
                subprocess.run,
                [
                    sys.executable,
                    "-c",
                    PROGRAM,
                    "dev",
                    "--nodes",
                    "1",
                    "--folder",
                    str(tmp_path / "two"),
                    "--ports",
                    str(cluster.nodes[0].port),
                ],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert told.returncode == 1
            assert "address already in use" in told.stderr

    asyncio.run(main())
