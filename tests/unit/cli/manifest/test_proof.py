"""Names of files that are made for keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.cli.manifest import proof
from rspp.contract.errors import LimitReached


def test_two_keys_never_share_a_name() -> None:
    assert proof.safe_name("a/b") != proof.safe_name("a_b")
    assert proof.safe_name("a b") != proof.safe_name("a/b")
    assert proof.safe_name("KEY") == "KEY"
    assert len({proof.safe_name(one) for one in ("..", ".", "", "/", "_")}) == 5


def test_a_name_is_never_used_twice_and_the_number_of_runs_has_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "RUNS_MAX", 3)
    names = [proof.fresh(tmp_path, "KEY", ".log").name for _ in range(3)]
    assert names == ["KEY.1.log", "KEY.2.log", "KEY.3.log"]
    with pytest.raises(LimitReached, match="manifest_runs_exhausted"):
        proof.fresh(tmp_path, "KEY", ".log")


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "KEY.1.log").symlink_to(tmp_path / "elsewhere")
    assert proof.fresh(tmp_path, "KEY", ".log").name == "KEY.2.log"
    assert not (tmp_path / "elsewhere").exists()
