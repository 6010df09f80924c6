"""Which version falls under an advisory, as the OSV form says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rspp.cli.verify.advisories import affecting, fixed_in, read_all, told


def advisory(*ranges: list[dict[str, str]], name: str = "demo", **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": more.pop("ecosystem", "PyPI"), "name": name},
        "ranges": [{"type": more.pop("type", "ECOSYSTEM"), "events": events} for events in ranges],
        "versions": more.pop("versions", []),
    }
    return {"id": "GHSA-demo", "modified": "2026-01-01T00:00:00Z", "affected": [affected], **more}


def written(folder: Path, *those: object) -> Path:
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(those):
        (folder / f"{number}.json").write_text(one if isinstance(one, str) else json.dumps(one))
    return folder


def hit(folder: Path, version: str, name: str = "demo") -> bool:
    known = read_all(folder)
    assert known.wrong == ()
    return any(affecting(known, name, version))


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        (
            [{"introduced": "0"}, {"fixed": "1.2"}],
            ["0.1", "1.1.9", "1.2rc1"],
            ["1.2", "1.2.0", "1.2.post1", "2"],
        ),
        ([{"introduced": "1.0"}], ["1.0", "9"], ["0.9", "1.0rc1"]),
        ([{"introduced": "0"}, {"last_affected": "1.2"}], ["1.2", "1.2.0"], ["1.2.1", "1.3"]),
        (
            [{"introduced": "1.0"}, {"fixed": "1.4"}, {"introduced": "2.0"}, {"fixed": "2.1"}],
            ["1.0", "1.3", "2.0"],
            ["0.9", "1.4", "1.9", "2.1"],
        ),
        ([{"fixed": "2.1"}, {"introduced": "2.0"}], ["2.0"], ["1.9", "2.1"]),  # their order is not said
        (
            [{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.0"}, {"fixed": "1.1"}],
            ["0.5", "1.0"],
            ["1.1"],
        ),
        ([{"introduced": "0"}, {"limit": "2.0"}], ["1.9"], ["2.0", "3"]),
        ([{"introduced": "1!0"}, {"fixed": "1!2"}], ["1!1"], ["3"]),
    ],
)
def test_a_range_takes_what_lies_in_it(
    tmp_path: Path, events: list[dict[str, str]], inside: list[str], outside: list[str]
) -> None:
    folder = written(tmp_path / "a", advisory(events))
    assert [version for version in inside if not hit(folder, version)] == []
    assert [version for version in outside if hit(folder, version)] == []


def test_a_version_that_is_listed_is_affected_however_it_is_written(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", advisory(versions=["1.0", "legacy-build"]))
    assert hit(folder, "1.0.0")
    assert hit(folder, "1.0+ours")
    assert hit(folder, "legacy-build")
    assert not hit(folder, "1.1")


def test_names_are_compared_as_packages_are(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", advisory([{"introduced": "0"}], name="Ruamel_YAML"))
    assert hit(folder, "1", "ruamel.yaml")
    assert not hit(folder, "1", "ruamel")


def test_what_is_withdrawn_and_what_is_of_another_ecosystem_counts_for_nothing(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "a",
        advisory([{"introduced": "0"}], withdrawn="2026-01-02T00:00:00Z"),
        advisory([{"introduced": "0"}], ecosystem="npm"),
        advisory([{"introduced": "deadbeef"}], type="GIT"),
    )
    known = read_all(folder)
    assert (known.count, known.withdrawn, known.elsewhere, known.wrong) == (1, 1, 1, ())
    assert not hit(folder, "1")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"id": 1}',
        '{"summary": "no id"}',
        '{"id": "x", "affected": "all"}',
        "[" * 100_000,
        json.dumps(advisory([{"introduced": "0"}, {"fixed": "not a version"}])),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_never_left_out(tmp_path: Path, text: str) -> None:
    known = read_all(written(tmp_path / "a", text))
    assert [one.where for one in known.wrong] == ["0.json"]


def test_a_folder_without_advisories_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert "holds no advisory" in read_all(tmp_path / "a").wrong[0].what
    assert "no such folder" in read_all(tmp_path / "b").wrong[0].what


def test_too_large_an_advisory_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.cli.verify.advisories.ADVISORY_BYTES_MAX", 100)
    assert (
        "more than 100 bytes" in read_all(written(tmp_path / "a", advisory(details="x" * 200))).wrong[0].what
    )


def test_it_is_told_with_its_other_names_and_where_it_is_mended(tmp_path: Path) -> None:
    one = advisory(
        [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"fixed": "2.0.3"}],
        aliases=["CVE-2026-1"],
        summary="Reads\n too much",
    )
    known = read_all(written(tmp_path / "a", one))
    found = told(next(affecting(known, "demo", "2.0.1")), "demo", "2.0.1", "requirements.lock:3")
    assert "GHSA-demo, CVE-2026-1: Reads too much" in found.what
    assert "2.0.3 or later" in found.fix
    assert fixed_in(known.by_package["demo"][0], "demo", "3.0") == ""
