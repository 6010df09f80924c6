"""`rspp control` as a person uses it: begin, ask the store or a server, and be told what to do next when it says no."""

from __future__ import annotations

import json
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from rspp.cli.control.main import COMMANDS, command
from rspp.cli.control.noun import example_of
from rspp.cli.control.serve import Rules, rules_of
from rspp.cli.main import load
from rspp.control.fleet.failover import FailoverPolicy
from rspp.control.objectives.error_budget import Objective
from rspp.control.operations import OPERATIONS
from rspp.control.operations.operation import Operation
from tests.unit.control.published import spec_text

NOUNS = sorted({one.noun for one in OPERATIONS})


def run(*words: str, **environment: str) -> Result:
    cleared = dict.fromkeys(("RSPP_CONTROL", "RSPP_TOKEN", "RSPP_STORE", "RSPP_KEYS", "RSPP_TENANT"))
    return CliRunner().invoke(command, list(words), env={**cleared, **environment})


def ok(*words: str, **environment: str) -> str:
    result = run(*words, **environment)
    assert result.exit_code == 0, result.output
    return result.output


class Here:
    """A control plane in a folder, asked by way of its store."""

    def __init__(self, folder: Path) -> None:
        self.store, self.keys = f"sqlite:///{folder / 'c.db'}", str(folder / "keys")
        self.token = folder / "admin.token"
        self.words = ("--store", self.store, "--keys", self.keys)

    def begin(self) -> str:
        return ok("init", *self.words, "--token-file", str(self.token))

    def ask(self, *words: str) -> Any:
        return json.loads(ok(*words, *self.words, "--json"))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    made = Here(tmp_path)
    made.begin()
    return made


def test_every_operation_is_a_command_with_help_that_teaches() -> None:
    assert set(NOUNS) <= set(COMMANDS)
    for noun in NOUNS:
        group = load(noun, COMMANDS[noun])
        for operation in (one for one in OPERATIONS if one.noun == noun):
            verb = operation.verb.replace("_", "-")
            said = CliRunner().invoke(group, [verb, "--help"])
            assert said.exit_code == 0, said.output
            assert operation.permission.value in said.output
            assert f"rspp control {noun} {verb}" in said.output


def test_the_example_in_each_help_is_a_command_that_asks_just_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []

    def note(_: object, operation: Operation, fields: dict[str, Any]) -> dict[str, list[object]]:
        asked.append((operation.name, msgspec.convert(fields, operation.request)))
        return {"items": []}

    monkeypatch.setattr("rspp.cli.control.noun.ask", note)
    for operation in OPERATIONS:
        words = shlex.split(example_of(operation))[2:]
        for name in (one for one in words if one.endswith(".yaml")):
            (tmp_path / name).write_text(str(operation.example[name.removesuffix(".yaml")]))
            words[words.index(name)] = str(tmp_path / name)
        result = run(*words, "--json")
        assert result.exit_code == 0, (words, result.output)
        assert asked[-1] == (operation.name, msgspec.convert(dict(operation.example), operation.request))
    assert len(asked) == len(OPERATIONS)


def test_init_makes_keys_and_a_token_that_only_their_owner_can_read_and_never_twice(here: Here) -> None:
    assert stat.S_IMODE(here.token.stat().st_mode) == 0o600
    assert here.token.read_text().count(".") == 2
    again = run("init", *here.words, "--token-file", str(here.token))
    assert (again.exit_code, "file_exists" in again.output) == (1, True)
    other = run("init", *here.words, "--token-file", str(here.token) + "2")
    assert (other.exit_code, "control_already_begun" in other.output) == (1, True)
    assert not Path(str(here.token) + "2").exists()


def test_by_the_store_a_pipeline_is_published_and_the_audit_says_who_was_logged_in(
    here: Here, tmp_path: Path
) -> None:
    spec = tmp_path / "pipeline.yaml"
    spec.write_text(spec_text())
    said = ok("pipelines", "publish", str(spec), *here.words)
    assert "voice@v1 is published" in said
    assert "next: rspp control rollout begin voice --version v1 " in said
    assert "rspp control rollout canary voice --version v1 --percent 10 " in said
    here.ask("rollout", "begin", "voice", "--version", "v1", "--reason", "first")
    listed = ok("pipelines", "versions", "voice", *here.words)
    assert "v1" in listed
    audit = here.ask("audit", "list", "--action", "pipelines.publish")["items"]
    assert {one["principal"][:3] for one in audit} == {"os:"}
    assert "sound" in ok("audit", "verify", *here.words)
    limits = here.ask(
        "quotas", "set", "--tenant", "acme", "--limits", '{"sessions": {"most": 2}}', "--reason", "r"
    )
    assert limits["limits"]["sessions"]["most"] == 2
    assert "acme" in ok("quotas", "list", *here.words)


def test_an_exported_audit_log_proves_itself_and_a_flipped_byte_is_found(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(CliRunner().invoke(command, ["audit", "export", *here.words]).stdout_bytes)
    assert "sound" in ok("audit", "check", str(file), *here.words)
    data = bytearray(file.read_bytes())
    data[data.index(b"roles.begin") + 3] ^= 1
    file.write_bytes(data)
    found = run("audit", "check", str(file), *here.words)
    assert (found.exit_code, "not as it was written: line" in found.output) == (1, True), found.output


def test_a_backup_goes_through_a_file_and_a_broken_one_is_refused(here: Here, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["backup", "make", *here.words])
    file = tmp_path / "backup.jsonl"
    file.write_bytes(result.stdout_bytes)
    there = Here(tmp_path / "second")
    said = ok("backup", "restore", str(file), "--reason", "lost", "--store", f"sqlite:///{tmp_path / 'd.db'}")
    assert "RPO: kept" in said
    file.write_bytes(result.stdout_bytes.replace(b'"keys"', b'"keyz"', 1))
    refused = run(
        "backup", "restore", str(file), "--reason", "lost", "--store", f"sqlite:///{tmp_path / 'e.db'}"
    )
    assert (refused.exit_code, "backup_corrupt" in refused.output) == (1, True)
    file.write_bytes(result.stdout_bytes + b" " * 2_000_000)  # larger than any other file that is taken
    refused = run(
        "backup", "restore", str(file), "--reason", "lost", "--store", f"sqlite:///{tmp_path / 'e.db'}"
    )
    assert (refused.exit_code, "backup_corrupt" in refused.output) == (1, True)
    assert there.token.exists() is False


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("sessions", "list"), 2, "Say which control plane"),
        (("sessions", "list", "--server", "http://127.0.0.1:9"), 2, "Say who you are"),
        (("sessions", "list", "--server", "http://example.org", "--token", "env://T"), 2, "in the open"),
        (
            ("sessions", "list", "--server", "http://127.0.0.1:9", "--token", "env://T"),
            1,
            "control_unreachable",
        ),
        (("sessions", "list", "--store", "mysql://x"), 1, "store"),
        (("sessions", "cancel", "s-1", "--reason", "r"), 2, "--tenant"),
        (("routes", "create", "--tenant", "a", "--latencies-ms", "eu=near"), 2, "no number"),
        (("quotas", "set", "--tenant", "a", "--limits", "{", "--reason", "r"), 2, "takes JSON"),
        (("serve",), 2, "--dev"),
        (("serve", "--listen", "0.0.0.0:0"), 2, "--tls-cert"),
        (("serve", "--listen", "here"), 2, "HOST:PORT"),
        (("serve", "--tls-cert", __file__), 2, "stand together"),
        (("serve", "--dev", "--proxy", "us"), 2, "a network"),
        (("serve", "--dev", "--failover", "flee"), 2, "is not one of"),
        (("serve", "--dev", "--objective", "100"), 2, "is not in the range"),
    ],
)
def test_wrong_usage_says_what_to_do(words: tuple[str, ...], status: int, said: str) -> None:
    result = run(*words, T="token")
    assert (result.exit_code, said in result.output) == (status, True), result.output


def test_what_fails_over_and_what_freezes_is_said_by_a_file_and_over_it_by_options(tmp_path: Path) -> None:
    assert rules_of(None, None, None) == Rules()
    assert Rules().failover is None
    file = tmp_path / "control.yaml"
    file.write_text("failover: {mode: drain, hold_ms: 500}\nobjective: {name: calls, target: 0.99}\n")
    said = rules_of(file, None, None)
    assert said.failover == FailoverPolicy(mode="drain", hold_ms=500)
    assert rules_of(file, "migrate", None).failover == FailoverPolicy(mode="migrate", hold_ms=500)
    assert rules_of(file, "off", None).failover is None
    assert rules_of(None, "drain", 99.5) == Rules(
        failover=FailoverPolicy(mode="drain"), objective=Objective(target=0.995)
    )
    assert (said.objective.name, said.objective.target) == ("calls", 0.99)
    for wrong in (
        "region: eu",
        "failover: {mode: off}",
        "failover: {fail_at: 0.2}",
        "failover: {hold_ms: -1}",
        "objective: {target: 1}",
        "[]",
        "",
    ):
        file.write_text(wrong)
        refused = run("serve", "--dev", "--settings", str(file))
        assert refused.exit_code == 2, (wrong, refused.output)


def test_of_a_server_and_a_store_the_typed_one_is_asked_and_from_the_environment_the_server(
    here: Here,
) -> None:
    both = {"RSPP_CONTROL": "http://127.0.0.1:9", "RSPP_STORE": here.store, "T": "token"}
    refused = run("fleet", "me", "--token", "env://T", **both)
    assert (refused.exit_code, "control_unreachable" in refused.output) == (1, True), refused.output
    assert '"os:' in ok("fleet", "me", "--store", here.store, "--json", **both)
    refused = run("fleet", "me", "--server", "http://127.0.0.1:9", "--token", "env://T", **both)
    assert "control_unreachable" in refused.output
    twice = run("fleet", "me", "--server", "http://127.0.0.1:9", "--store", here.store)
    assert (twice.exit_code, "give one of them" in twice.output) == (2, True)


@pytest.mark.slow
def test_the_service_is_begun_served_asked_and_stopped_as_a_process(here: Here) -> None:
    main = "from rspp.cli.control.main import command; command()"
    words = [sys.executable, "-c", main, "serve", "--listen", "127.0.0.1:0", *here.words]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _asked(process, here)
        finally:
            if process.poll() is None:
                process.kill()


def _asked(process: subprocess.Popen[str], here: Here) -> None:
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("control plane on http://127.0.0.1:"), first
    url = first.split()[3].rstrip(",")
    asked = ("--server", url, "--token", f"file://{here.token}")
    me = json.loads(ok("fleet", "me", *asked, "--json"))
    assert (me["principal"], me["roles"]) == ("admin", {"*": ["admin"]})
    assert "ready" in ok("fleet", "status", *asked)
    refused = run("sessions", "show", "none", "--tenant", "acme", *asked)
    assert (refused.exit_code, "not_found" in refused.output) == (1, True)
    granted = ("--tenant", "acme", "--role", "viewer", "--reason", "looks")
    ok("principals", "grant", "vera", *granted, *asked)
    token = json.loads(ok("principals", "token", "vera", *asked, "--json"))["token"]
    denied = run("sessions", "list", "--server", url, RSPP_TOKEN=token)
    assert "permission_denied" in denied.output
    assert "Ask an admin" in denied.output
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
