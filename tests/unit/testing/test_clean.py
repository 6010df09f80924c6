"""A search for planted values that finds nothing in a file where they stand would prove nothing."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from rspp.testing.clean import assert_clean, found_in

CARD = "4111 1111 1111 1111"


@pytest.mark.parametrize(
    "leak",
    [
        CARD.encode(),
        b"x4111-1111-1111-1111x",
        CARD.encode("utf-16"),
        CARD.encode().hex().upper().encode(),
        base64.b64encode(b"my card is " + CARD.encode() + b" ok"),
        base64.b64encode(b"a" + CARD.encode()),
        msgspec.msgpack.encode(4111111111111111),
        msgspec.msgpack.encode(["4111 11", "11 1111", " 1111"]),
        json.dumps({"x": CARD}).encode(),
        CARD[::-1].encode(),
    ],
)
def test_a_planted_value_is_found_in_every_form(leak: bytes) -> None:
    assert found_in(b"\x00before" + leak + b"after", [CARD])
    with pytest.raises(AssertionError, match="planted values"):
        assert_clean(leak, [CARD])


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"4111 2222 3333 4444, and a good day")
    assert_clean(tmp_path, [CARD, "hunter2"])


def test_files_of_a_folder_are_all_looked_at(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.seg").write_bytes(b"..hunter2..")
    assert found_in(tmp_path, ["hunter2"])[0][0] == "hunter2"
    assert found_in(tmp_path, ["hunter2"])[0][1].endswith("x.seg")


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(AssertionError, match="nothing was planted"):
        assert_clean(b"", [])
    with pytest.raises(ValueError, match="at least"):
        found_in(b"", ["abc"])
