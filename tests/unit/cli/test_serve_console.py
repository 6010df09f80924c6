"""The console beside `rspp serve` is a process of its own: what it is told, that it comes back, and that it ends."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest
from click.testing import CliRunner

from rspp.cli.console import command as console
from rspp.cli.control.serve import command as control_serve
from rspp.cli.serve_console import ConsoleProcess, WantedConsole, wanted_console, words_of
from rspp.cli.serve_settings import Work
from rspp.contract.errors import MisuseError

WITHIN_S = 60.0


def test_a_console_without_keys_is_for_dev_mode_and_for_this_machine() -> None:
    assert wanted_console(None, None, dev=False) is None
    assert wanted_console("127.0.0.1:0", None, dev=True) == WantedConsole(listen="127.0.0.1:0")
    with pytest.raises(click.UsageError, match="--console-keys"):
        wanted_console("127.0.0.1:0", None, dev=False)
    with pytest.raises(click.UsageError, match="reached by others"):
        wanted_console("0.0.0.0:8700", None, dev=True)
    assert wanted_console("0.0.0.0:8700", Path("keys"), dev=False, encrypted=True) is not None
    with pytest.raises(MisuseError, match="address_unusable"):
        wanted_console("nowhere", None, dev=True)


def test_dev_mode_makes_itself_no_admin_in_a_store_that_others_use(tmp_path: Path) -> None:
    shared = "nats://10.0.0.1,127.0.0.1:4222?replicas=3"
    with pytest.raises(MisuseError, match="an admin and a key") as refused:
        wanted_console("127.0.0.1:0", None, dev=True, store=shared)
    assert refused.value.code == "control_dev_store_shared"
    for own in ("nats://127.0.0.1:4222", "nats://[::1]:1,localhost", f"sqlite:///{tmp_path}/a.db"):
        assert wanted_console("127.0.0.1:0", None, dev=True, store=own) is not None
    assert wanted_console("127.0.0.1:0", Path("keys"), dev=False, store=shared) is not None
    said = CliRunner().invoke(console, ["--dev", "--listen", "127.0.0.1:0", "--store", shared])
    assert (said.exit_code, "--keys" in said.output) == (2, True)


def test_what_its_process_would_refuse_for_ever_is_refused_at_once() -> None:
    with pytest.raises(click.UsageError, match="--tls-cert"):
        wanted_console("0.0.0.0:8700", Path("keys"), dev=False)
    taken = ("0.0.0.0:8080", "127.0.0.1:9090")
    for port in (8080, 9090):
        with pytest.raises(click.UsageError, match="that port"):
            wanted_console(f"127.0.0.1:{port}", None, dev=True, taken=taken)
    assert wanted_console("127.0.0.1:8700", None, dev=True, taken=taken) is not None
    assert wanted_console("127.0.0.1:0", None, dev=True, taken=("127.0.0.1:0",)) is not None


def test_a_machine_that_has_no_room_for_a_process_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def main() -> None:
        twice = asyncio.Event()

        def say(what: str) -> None:
            said.append(what)
            if len(said) == 2:
                twice.set()

        monkeypatch.setattr("rspp.cli.serve_console.sys.executable", "/no/such/python")
        process = ConsoleProcess(["x"], say, again_s=0.01)
        running = asyncio.create_task(process.run())
        async with asyncio.timeout(WITHIN_S):
            await twice.wait()
        running.cancel()
        await asyncio.wait((running,))

    asyncio.run(main())
    assert all("No such file" in one for one in said)


def test_its_process_is_told_of_the_same_store_and_recordings_and_of_no_secret() -> None:
    work = Work(
        store="nats://a",
        data="/data",
        recordings="nats://b",
        tls_cert="c.pem",
        tls_key="k.pem",
        token="env://T",
    )
    words = words_of(WantedConsole(listen="0.0.0.0:1", keys=Path("keys")), work)
    assert words[:4] == ["--listen", "0.0.0.0:1", "--store", "nats://a"]
    assert "--dev" not in words
    assert words[words.index("--recordings") + 1] == "nats://b"
    assert words[words.index("--keys") + 1] == "keys"
    assert "env://T" not in words
    known = {option for one in console.params for option in one.opts}
    assert {one for one in words if one.startswith("--")} <= known
    assert "--dev" in words_of(WantedConsole(listen="127.0.0.1:1"), work)


def test_the_console_takes_what_control_serve_takes() -> None:
    assert console.params == control_serve.params
    shown = CliRunner().invoke(console, ["--help"]).output
    assert "rspp console --dev" in shown
    assert "--recordings" in shown
    assert "--with-parent" not in shown
    refused = CliRunner().invoke(console, ["--listen", "0.0.0.0:8700", "--store", "sqlite:///x.db"])
    assert (refused.exit_code, "--tls-cert" in refused.output) == (2, True)


@pytest.mark.slow
def test_one_that_ends_is_begun_again_and_one_that_hangs_is_made_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rspp.cli.serve_console.END_S_MAX", 0.2)
    said: list[str] = []

    async def main() -> None:
        monkeypatch.setattr("rspp.cli.serve_console.MODULE", "this")
        twice = asyncio.Event()

        def say(what: str) -> None:
            said.append(what)
            if len(said) == 2:
                twice.set()

        running = asyncio.create_task(ConsoleProcess([], say, again_s=0.01).run())
        await asyncio.wait_for(twice.wait(), WITHIN_S)
        running.cancel()
        await asyncio.wait((running,))
        assert all("ended with 0" in one for one in said)
        monkeypatch.setattr("rspp.cli.serve_console.MODULE", "http.server")
        stays = ConsoleProcess(["0", "--bind", "127.0.0.1"], said.append)
        running = asyncio.create_task(stays.run())
        async with asyncio.timeout(WITHIN_S):
            while not stays.begun:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        running.cancel()
        async with asyncio.timeout(WITHIN_S):
            await asyncio.wait((running,))

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.long
def test_dev_mode_prints_an_address_that_opens_the_console_again_and_again(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "rspp.cli.console", "--dev", "--listen", "127.0.0.1:0"]
    words += ["--store", f"sqlite:///{tmp_path / 'store.db'}", "--data", str(tmp_path)]
    for _ in range(2):
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("control plane on http://127.0.0.1:")
                found = re.fullmatch(r"console at (\S+)/#token=(\S+)\n", process.stdout.readline())
                assert found is not None
                url, token = found.groups()
                headers = {"authorization": f"Bearer {token}"}
                query = {"query": "{ me { id dev everywhere } health { level stale } }"}
                said = httpx.post(f"{url}/graphql", json=query, headers=headers, timeout=20).json()
                assert said["data"]["me"] == {"id": "dev", "dev": True, "everywhere": True}
                assert said["data"]["health"] == {"level": "OK", "stale": False}
                assert httpx.get(f"{url}/healthz", timeout=20).text == "ok"
                process.terminate()
                assert process.wait(20) == 0
            finally:
                process.kill()
