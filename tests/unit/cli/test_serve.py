"""`rspp serve`: what it refuses before there is a process."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.cli.recorded import Choice
from rspp.cli.serve import command, direct_ports, work_of
from rspp.cli.serve_settings import as_json, as_work
from rspp.contract.errors import MisuseError

REST = {
    "store": None,
    "labels": (("gpu", "no"),),
    "lease_ttl": 3_000,
    "token": None,
    "tls_cert": None,
    "tls_key": None,
    "dev": False,
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "desk.yaml"
    path.write_text("pipeline: desk\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--listen", "0.0.0.0:0"), "say with --token what opens it"),
        (("--listen", "nowhere"), "takes HOST:PORT"),
        (("--lease-ttl", "2s"), "is not from 3000 ms to 300000 ms"),
        (("--lease-ttl", "15"), "write 15s"),
        (("--label", "plain"), "is not KEY=VALUE"),
        (("--workers", "0"), "is not in the range"),
        (("--on-stop", "hope"), "is not one of"),
        (("--direct-port", "0"), "is not in the range"),
        (("--direct-port", "65534", "--workers", "2"), "leaves no ports for 2 processes and one more"),
        (("--direct-port", "8079", "--workers", "2", "--listen", "127.0.0.1:8080"), "is one of its 3 ports"),
        (("--tls-client-ca", __file__), "give --tls-cert and --tls-key too"),
    ],
)
def test_what_makes_no_sense_or_would_not_be_safe_is_wrong_usage(
    spec: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = run("--pipeline", spec, *arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_what_belongs_to_a_control_plane_is_told_from_what_belongs_to_files(spec: Path) -> None:
    store = "sqlite:///" + str(spec.with_name("x.db"))
    for arguments, told in (
        ((), "or a control plane's store with --store"),
        (("--store", store, "--token", "env://X"), "callers of a control plane show its route tokens"),
        (("--store", store, "--dev", "--listen", "0.0.0.0:0"), "this machine's own address alone"),
        (("--pipeline", spec, "--dev"), "--dev is for workers of a control plane"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert told in result.output


def test_a_certificate_without_its_key_is_wrong_usage(spec: Path) -> None:
    assert "go together" in run("--pipeline", spec, "--tls-cert", spec).output


def test_work_comes_to_a_worker_as_it_was_given_and_holds_no_secret(spec: Path, tmp_path: Path) -> None:
    choice = Choice(data=tmp_path)
    work = work_of((spec,), "127.0.0.1:0", None, choice, **{**REST, "token": "env://RSPP_CALLS"})  # type: ignore[arg-type]
    assert as_work(as_json(work)) == work
    assert work.token == "env://RSPP_CALLS"
    assert work.choice == choice
    assert work.advertise == "ws://127.0.0.1:{port}/v1/rtc/ws"


def test_ports_of_processes_are_one_each_and_one_more_and_files_keep_the_names_they_were_given(
    tmp_path: Path,
) -> None:
    assert direct_ports(9100, 2) == (9100, 9101, 9102)
    assert direct_ports(None, 2) == ()
    real, link = tmp_path / "v1", tmp_path / "current"
    real.mkdir()
    for name in ("desk.yaml", "tls.crt", "tls.key"):
        (real / name).write_text("x")
    link.symlink_to(real)  # as a cluster mounts files: turned to another folder when they change
    given = {**REST, "tls_cert": link / "tls.crt", "tls_key": link / "tls.key"}
    work = work_of((link / "desk.yaml",), "127.0.0.1:0", None, Choice(data=tmp_path), **given)  # type: ignore[arg-type]
    assert [work.pipelines[0], work.tls_cert, work.tls_key] == [
        str(link / name) for name in ("desk.yaml", "tls.crt", "tls.key")
    ]


def test_work_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no work of this version"):
        as_work({"store": "sqlite:///x", "data": str(tmp_path), "surprise": 1})


def test_a_reload_of_nobody_says_so(tmp_path: Path) -> None:
    pid = tmp_path / "rspp.pid"
    pid.write_text("nobody")
    result = run("reload", "--pid-file", pid)
    assert result.exit_code == 1
    assert "there is no number in it" in result.output
