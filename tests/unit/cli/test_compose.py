"""A pipeline file made ready: what it needs is what is installed, and what RSPP itself brings for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rspp.cli.compose import installed, missing, pipeline_of
from rspp.cli.init import files
from rspp.contract.errors import MisuseError

LOCAL = re.compile(r"  (stt|llm|tts): local-")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """As `rspp init` begins it, on scripted models."""
    for name, text in files("desk").items():
        (tmp_path / name).write_text(LOCAL.sub(r"  \1: scripted-\1 # ", text))
    yield tmp_path
    sys.modules.pop("spelling", None)


def test_a_node_in_a_process_of_its_own_needs_nothing_that_has_to_be_installed(project: Path) -> None:
    spec = project / "pipeline.yaml"
    spec.write_text(
        spec.read_text().replace("config: {length_min: 3}", "config: {length_min: 3}\n    isolate: process")
    )
    here = installed()
    pipeline = pipeline_of(spec, here)
    assert pipeline.registry is not None
    assert "isolated" in pipeline.registry.providers
    lacking, _ = missing(pipeline, here)
    assert "isolated" not in lacking


def test_a_provider_that_does_not_exist_is_named_with_those_that_do(project: Path) -> None:
    spec = project / "pipeline.yaml"
    spec.write_text(spec.read_text().replace("scripted-llm", "no-such-llm"))
    here = installed()
    with pytest.raises(MisuseError, match=r"no provider 'no-such-llm' for llm; installed: .*local-smollm2"):
        missing(pipeline_of(spec, here), here)
