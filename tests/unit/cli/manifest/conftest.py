"""The folder that these tests work in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.manifest.working import Work

NAMES = ("RSPP_MANIFEST", "RSPP_STORE", "RSPP_DATA")


@pytest.fixture(scope="package")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session whose first step runs and is routed, made once."""
    folder = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        Work(folder).begin()
    return folder


@pytest.fixture
def work(tmp_path: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Work(tmp_path, begun)
