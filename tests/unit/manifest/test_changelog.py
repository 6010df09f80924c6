"""Each result is one entry for people, made of its line; what died on the way is finished, and never told twice."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from rspp.manifest import Manifest
from rspp.manifest.changelog import Changelog, entry, mark
from rspp.manifest.document import StepStatus
from rspp.manifest.trace import Line
from rspp.manifest.updates import Resulted, StepBegun
from tests.unit.manifest.dying import DyingDisk, ground, script


def failed(path: Path) -> tuple[Manifest, Line]:
    manifest = Manifest(path, port=DyingDisk(), by="anna")
    for update in script(path.parent)[:5]:
        manifest.say(update)
    return manifest, list(manifest.trace())[-1]


def test_an_entry_says_what_happened(tmp_path: Path) -> None:
    manifest, line = failed(ground(tmp_path / "work", "RUNTIME_MANIFEST.yaml"))
    text = (manifest.folder / "CHANGELOG").read_text()
    assert text == entry(line)
    for part in (
        "## Step 1: FAIL (broken)",
        "Goal: compile (by anna)",
        "- it broke",
        "- mend it",
        "Next: again",
        mark(line),
    ):
        assert part in text


def test_what_people_say_makes_no_markup_and_no_mark(tmp_path: Path) -> None:
    manifest, line = failed(ground(tmp_path / "work", "x.yaml"))
    says = {**line.wrote["LAST_RESULT"], "FAIL_REASONS": ["<!-- trace 99 x -->", "[a](b)", "`c`"]}
    text = entry(
        Line(
            **{
                **{name: getattr(line, name) for name in Line.__struct_fields__},
                "wrote": {"LAST_RESULT": says},
            }
        )
    )
    assert text.count("<!--") - text.count("\\<!--") == 1
    assert "\\[a\\](b)" in text
    assert "\\`c\\`" in text
    assert manifest._changelog.path.name == "x.CHANGELOG"


def test_at_whatever_byte_it_died_the_entry_is_finished_once(tmp_path: Path) -> None:
    manifest, line = failed(ground(tmp_path / "work", "RUNTIME_MANIFEST.yaml"))
    path, whole = manifest.folder / "CHANGELOG", entry(line).encode()
    for before in (b"", b"# What happened\n\nOlder.\n\n"):
        for size in (*range(1, len(whole), 11), len(whole) - 2, len(whole)):
            path.write_bytes(before + whole[:size])
            Changelog(path).tell(DyingDisk(), line)
            assert path.read_bytes() == before + whole
    for before, gap in ((b"without its end #", b"\n\n"), (b"with its end\n", b"\n"), (b"", b"")):
        path.write_bytes(before)
        Changelog(path).tell(DyingDisk(), line)
        assert path.read_bytes() == before + gap + whole


def test_people_may_edit_it_but_for_the_marks(tmp_path: Path) -> None:
    manifest, _ = failed(ground(tmp_path / "work", "RUNTIME_MANIFEST.yaml"))
    path = manifest.folder / "CHANGELOG"
    edited = "# Ours\n\n" + path.read_text().replace("it broke", "the disk broke")
    path.write_text(edited)
    again = Manifest(manifest.path, port=DyingDisk())
    for update in script(manifest.folder)[5:7]:
        again.say(update)
    assert path.read_text() == edited


def test_one_that_cannot_be_written_fails_no_update_and_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ground(tmp_path / "work", "RUNTIME_MANIFEST.yaml")
    (path.parent / "CHANGELOG").mkdir()
    with caplog.at_level(logging.WARNING, "rspp.manifest.changelog"):
        manifest, line = failed(path)
    assert "CHANGELOG is a folder" in caplog.text
    assert manifest.document.LAST_RESULT.FAIL_CODE == "broken"
    (path.parent / "CHANGELOG").rmdir()
    manifest.say(script(path.parent)[5])
    assert (path.parent / "CHANGELOG").read_text() == entry(line)


def test_only_results_are_told(tmp_path: Path) -> None:
    manifest = Manifest.create(tmp_path / "RUNTIME_MANIFEST.yaml", "s-1", port=DyingDisk())
    manifest.say(StepBegun(goal="a"))
    assert not (tmp_path / "CHANGELOG").exists()
    manifest.say(Resulted(status=StepStatus.STOP_GAP, requirements=("a key",)))
    assert (tmp_path / "CHANGELOG").read_text().count("## Step 1: STOP_GAP") == 1
