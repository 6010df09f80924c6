"""A file that somebody wrote is understood to the letter, or refused by its name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.timeline.declared import BYTES_MAX, declared, declared_in


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "none"
    times: int = 1


def test_yaml_and_json_say_the_same() -> None:
    assert declared("name: a\ntimes: 2", Wish, "malformed", "w") == Wish("a", 2)
    assert declared(b'{"name": "a", "times": 2}', Wish, "malformed", "w") == Wish("a", 2)


@pytest.mark.parametrize("text", ["", "\n# only a remark\n", "null"])
def test_nothing_is_refused_unless_nothing_means_something(text: str) -> None:
    with pytest.raises(MisuseError, match="w"):
        declared(text, Wish, "malformed", "w")
    assert declared(text, Wish, "malformed", "w", empty=Wish("all")) == Wish("all")


@pytest.mark.parametrize(
    "data",
    [
        b"name: a\nname: b",
        b"name: &x a\n<<: {times: 2}",
        b"name: !!str a",
        b"[a]",
        b"name: [",
        b"times: .inf",
        b"nmae: a",
        b"\xff\xfe",
        b"---\nname: a\n---\nname: b",
        b"a: " * 1_000,
        b"[" * 5_000,
        b" " * (BYTES_MAX + 1),
    ],
)
def test_what_is_not_understood_refuses_the_whole_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "wish.yaml"
    path.write_bytes(data)
    with pytest.raises(MisuseError, match=r"wish\.yaml") as refused:
        declared_in(path, Wish, "malformed", empty=Wish())
    assert refused.value.code == "malformed"


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"none\.yaml cannot be read"):
        declared_in(tmp_path / "none.yaml", Wish, "malformed", empty=Wish())
