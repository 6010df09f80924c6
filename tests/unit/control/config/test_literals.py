"""A spec is not published with a secret in its metadata; where else one seems to stand, its publisher is told which line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.control.config.registry import SpecRefused
from tests.unit.control.published import Plane, spec_text

KEY = "sk-" + "proj-Xq7Lm2Rt9Bz4Kw8Ny3Hd5Gf6"


def published(text: str) -> Any:
    async def main() -> Any:
        return await Plane().registry.publish(text, "ann")

    return asyncio.run(main())


@pytest.mark.parametrize(
    "metadata", [{"note": KEY}, {"password": "amber violin"}, {"team": ["desk", KEY]}, {KEY: 1}]
)
def test_metadata_that_holds_a_secret_is_refused_and_not_repeated(metadata: dict[str, Any]) -> None:
    with pytest.raises(SpecRefused) as refused:
        published(spec_text(metadata=metadata))
    assert [one.code for one in refused.value.problems] == ["literal_secret"]
    told = f"{refused.value} {refused.value.problems}"
    assert KEY not in told
    assert "amber" not in told


def test_metadata_that_holds_none_is_published_without_a_word() -> None:
    metadata = {"team": "desk", "commit": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "tokens_max": 512}
    assert published(spec_text(metadata=metadata)).warnings == ()


def test_a_comment_that_looks_like_a_secret_is_published_and_warned_of_by_its_line() -> None:
    text = spec_text() + f"\n# was {KEY}\n"
    (warning,) = [one for one in published(text).warnings if one.code == "literal_secret"]
    assert warning.line == len(text.splitlines())
    assert KEY not in str(warning)
