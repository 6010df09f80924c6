"""`--control` of `rspp run` and `rspp dev`: what is refused before anything begins, and how the file comes into the registry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.compose import installed
from rspp.cli.control.init import folder_with_key
from rspp.cli.dev import Reload
from rspp.cli.main import main
from rspp.cli.run_control_publish import dev_token, lead, publish
from rspp.contract.errors import MisuseError
from rspp.control.plane import ControlPlane

SPEC = """
pipeline: desk
version: {version}
template: voice
providers: {{vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}}
provider_settings:
  scripted-llm: {{answers: ["{answer}"]}}
"""
OLD, NEW = "v1.0.0", "v1.1.0"


def text(version: str = OLD, answer: str = "Hello.") -> str:
    return SPEC.format(version=version, answer=answer)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "desk.yaml"
    file.write_text(text())
    return file


def run(command: str, *arguments: object, **env: str) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments)], env=env)


@pytest.mark.parametrize("option", ["--listen", "--control"])
def test_dev_mode_is_of_this_machine_alone_and_says_what_to_do_for_more(spec: Path, option: str) -> None:
    given = {"--listen": "127.0.0.1:0", "--control": "127.0.0.1:0", option: "0.0.0.0:0"}
    result = run("run", spec, *(word for pair in given.items() for word in pair))
    assert result.exit_code == 2
    assert f"{option}: dev mode listens on this machine alone" in result.output
    assert "rspp control init" in result.output


@pytest.mark.parametrize("command", ["run", "dev"])
def test_a_folder_without_a_key_is_no_way_around_it(spec: Path, tmp_path: Path, command: str) -> None:
    result = run(
        command, spec, "--listen", "0.0.0.0:0", "--control", "0.0.0.0:0", "--keys", tmp_path / "none"
    )
    assert result.exit_code == 2
    assert "no signing key and no default one" in result.output


def test_tokens_do_not_go_over_an_open_line(spec: Path, tmp_path: Path) -> None:
    folder_with_key(tmp_path / "keys")
    more = ("--keys", tmp_path / "keys", "--data", tmp_path / "data")
    result = run("run", spec, "--listen", "127.0.0.1:0", "--control", "0.0.0.0:0", *more)
    assert result.exit_code == 2
    assert "--tls-cert and --tls-key, or --behind-proxy" in result.output
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--listen", "--control", "--token", "env://X"), "callers show route tokens"),
        (("--listen", "--control", "--layer", "env=x.yaml"), "publish a policy instead"),
        (("--listen", "--control", "--record-level", "L2"), "takes only off"),
        (("--listen", "--control", "nowhere"), "--control takes HOST:PORT"),
        (("--listen", "--region", "eu"), "--region is for --control"),
        (("--listen", "--behind-proxy"), "--behind-proxy is for --control"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(spec: Path, more: tuple[str, ...], told: str) -> None:
    result = run("run", spec, *more)
    assert result.exit_code == 2
    assert told in result.output


def test_a_call_from_a_recording_needs_no_control_plane(spec: Path) -> None:
    result = run("run", spec, "--wav", spec, "--control")
    assert result.exit_code == 2
    assert "for --listen" in result.output


def test_half_a_certificate_is_wrong_usage(spec: Path) -> None:
    assert "stand together" in run("run", spec, "--listen", "--control", "--tls-cert", spec).output


def test_what_the_environment_says_for_other_commands_is_no_wrong_usage(spec: Path) -> None:
    result = run("run", spec, RSPP_STORE="sqlite:///x.db", RSPP_REGION="eu")
    assert "is for --control" not in result.output


# ---- the registry --------------------------------------------------------------------------------------------------


def with_plane(tmp_path: Path, test: Callable[[ControlPlane], Awaitable[None]]) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "control.db")
        try:
            plane = ControlPlane(store, keys=folder_with_key(tmp_path / "keys"))
            await plane.load()
            await test(plane)
        finally:
            await store.close()

    asyncio.run(main())


def test_the_same_content_is_no_change_and_other_content_is_refused_with_the_way_out(tmp_path: Path) -> None:
    async def test(plane: ControlPlane) -> None:
        assert await publish(plane, text(), "desk", OLD) == OLD
        begun = await plane.rollouts.want("desk")
        records = len(await plane.registry.versions("desk"))
        assert await publish(plane, text(), "desk", OLD) == OLD
        assert (await plane.rollouts.want("desk"), len(await plane.registry.versions("desk"))) == (
            begun,
            records,
        )
        with pytest.raises(MisuseError, match="Give the file a new `version`") as refused:
            await publish(plane, text(answer="Other."), "desk", OLD)
        assert refused.value.code == "version_exists"

    with_plane(tmp_path, test)


def test_a_rollout_that_there_is_is_left_alone(tmp_path: Path) -> None:
    async def test(plane: ControlPlane) -> None:
        await publish(plane, text(), "desk", OLD)
        assert await publish(plane, text(NEW), "desk", NEW) == OLD
        assert (await plane.rollouts.want("desk")).rollout.base == OLD
        await lead(plane, "desk", NEW)
        assert (await plane.rollouts.want("desk")).rollout.base == NEW

    with_plane(tmp_path, test)


def test_a_second_life_in_dev_mode_has_a_token_again_even_where_the_key_was_lost(tmp_path: Path) -> None:
    file = tmp_path / "control.token"

    async def test(plane: ControlPlane) -> None:
        await dev_token(plane, file)
        assert file.stat().st_mode & 0o777 == 0o600
        principal = await plane.authenticate(file.read_text().strip())
        assert principal.id == "dev"

    with_plane(tmp_path, test)
    first = file.read_text()
    with_plane(tmp_path, test)
    assert file.read_text() != first
    (tmp_path / "keys").rename(tmp_path / "lost")
    with_plane(tmp_path, test)


def test_an_edit_with_a_new_version_is_led_to_and_one_without_changes_nothing(
    spec: Path, tmp_path: Path
) -> None:
    said: list[str] = []  # bounded: by the edits
    worker = Worker()

    async def test(plane: ControlPlane) -> None:
        reload = Reload(spec, installed(), (), said.append)
        await publish(plane, text(), "desk", OLD)
        assert not await reload.look_published(plane, worker)
        edit(spec, text(answer="Changed."))
        assert not await reload.look_published(plane, worker)
        assert "Give the file a new `version`" in said[-1]
        assert (await plane.rollouts.want("desk")).rollout.base == OLD
        edit(spec, text(NEW, "Changed."))
        assert await reload.look_published(plane, worker)
        assert said[-1] == f"desk.yaml changed; new calls take desk@{NEW}"
        assert (await plane.rollouts.want("desk")).rollout.base == NEW

    with_plane(tmp_path, test)


class Worker:
    """Nobody's nodes run here."""

    def renew(self) -> None:
        """Nothing was loaded."""


def edit(file: Path, content: str) -> None:
    """Written, and a second later than before, whatever the file system's clock says."""
    before = file.stat().st_mtime_ns
    file.write_text(content)
    os.utime(file, ns=(before + 1_000_000_000, before + 1_000_000_000))


@pytest.mark.parametrize("more", [("--control",), ("--store", "sqlite:///kept.db")])
def test_a_console_has_a_store_of_its_own(spec: Path, more: tuple[str, ...]) -> None:
    result = run("run", spec, "--listen", "127.0.0.1:0", *more, "--console", "127.0.0.1:0")
    assert result.exit_code == 2
    assert "--console has a store of its own" in result.output
