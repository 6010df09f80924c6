"""One recorded system for all tests here: a pipeline of local models, with everything of a call on record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.console import EXAMPLE, System, browser_path, system


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    browser_path()  # before models are loaded for nothing
    folder = tmp_path_factory.mktemp("console")
    spec = folder / "voice-assistant.yaml"
    spec.write_text(
        EXAMPLE.read_text().replace("policies:\n", "policies:\n  recording_policy: {level: L2}\n", 1)
    )
    with system(spec, folder / "data") as made:
        yield made
