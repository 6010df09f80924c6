"""A line that was changed, taken out, put in or moved is found, with its number; a torn one is told exactly, and cut."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rspp.manifest import Manifest, trace
from rspp.manifest.document import Document, digest
from rspp.manifest.faults import ManifestError
from rspp.manifest.trace import Trace
from tests.unit.manifest.dying import DyingDisk, ground, script


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = ground(tmp_path / "work", "RUNTIME_MANIFEST.yaml")
    made = Manifest(path, port=DyingDisk(), by="anna", clock=lambda: 1_760_000_000_123)
    for update in script(path.parent):
        made.say(update)
    return made


def lines_of(manifest: Manifest) -> list[bytes]:
    return (manifest.folder / "TRACE").read_bytes().splitlines(keepends=True)


def with_lines(manifest: Manifest, lines: list[bytes]) -> Trace:
    (manifest.folder / "TRACE").write_bytes(b"".join(lines))
    return Trace(manifest.folder / "TRACE")


def test_a_line_says_what_was_said_what_it_made_and_what_came_before(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    line = json.loads(raw[3])
    assert list(line) == ["n", "at", "by", "what", "says", "wrote", "state", "seen", "prev", "sum"]
    assert (line["n"], line["by"], line["what"]) == (4, "anna", "engine")
    assert line["at"] == "2025-10-09T08:53:20.123+00:00"
    assert line["says"]["key"] == "KEY:ENG.A"
    assert list(line["wrote"]) == ["LEDGERS"]
    assert line["prev"] == hashlib.sha256(raw[2].rstrip(b"\n")).hexdigest()
    body = {key: value for key, value in line.items() if key != "sum"}
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    assert line["sum"] == hashlib.sha256(text.encode()).hexdigest()
    assert "нет" in raw[3].decode()
    assert list(json.loads(raw[0])["wrote"]) == list(Document.__struct_fields__)


def test_the_document_is_the_lines_laid_over_one_another(manifest: Manifest) -> None:
    folded = Trace(manifest.folder / "TRACE").folded()
    assert folded.document == manifest.document
    assert folded.state == digest(manifest.document)
    assert (folded.lines, list(folded.steps), folded.steps_passed) == (8, ["1", "2"], 0)
    assert [line.n for line in manifest.trace()] == list(range(1, 9))


def broken_at(trace_: Trace) -> int:
    folded = trace_.folded()
    assert folded.fault is not None
    assert folded.torn is None
    assert folded.fault.code == "manifest_trace_broken"
    return folded.fault.line


def test_every_byte_of_a_line_counts(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    for at in range(0, len(raw[3]) - 1, 29):
        changed = raw[3][:at] + bytes([raw[3][at] ^ 1]) + raw[3][at + 1 :]
        if b"\n" in changed[:-1] or b"\0" in changed:
            continue
        assert broken_at(with_lines(manifest, [*raw[:3], changed, *raw[4:]])) == 4


def test_what_was_taken_out_put_in_or_moved_is_found(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    assert broken_at(with_lines(manifest, [*raw[:3], *raw[4:]])) == 4
    assert broken_at(with_lines(manifest, [*raw[:4], raw[3], *raw[4:]])) == 5
    assert broken_at(with_lines(manifest, [*raw[:3], raw[4], raw[3], *raw[5:]])) == 4
    assert broken_at(with_lines(manifest, raw[1:])) == 1
    assert broken_at(with_lines(manifest, [*raw, b"\n"])) == 9
    assert broken_at(with_lines(manifest, [*raw, b"{}\n"])) == 9
    with pytest.raises(ManifestError, match="line 9"):
        list(manifest.trace())


def test_a_line_that_was_made_up_with_the_right_sums_must_make_its_document(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    last = next(iter(trace._LINE(line) for line in raw[-1:]))
    wrote = {"SESSION": {**last.wrote.get("SESSION", {}), "SESSION_ID": "other"}}
    said = {name: getattr(last, name) for name in trace.Said.__struct_fields__}
    made_up = trace.encode(trace.Said(**{**said, "wrote": wrote}))
    assert broken_at(with_lines(manifest, [*raw[:-1], made_up + b"\n"])) == 8
    unfit: tuple[dict[str, Any], ...] = ({"SESSION": {"X": 1}}, {"NONE": {}}, {"LEDGERS": 3})
    for bad in unfit:
        made_up = trace.encode(trace.Said(**{**said, "wrote": bad}))
        assert broken_at(with_lines(manifest, [*raw[:-1], made_up + b"\n"])) == 8


def test_at_whatever_byte_the_last_line_was_torn_it_is_told_exactly(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    for size in (1, 2, 40, len(raw[-1]) // 2, len(raw[-1]) - 2):
        folded = with_lines(manifest, [*raw[:-1], raw[-1][:size]]).folded()
        assert folded.fault is None
        assert folded.torn is not None
        sha256 = hashlib.sha256(raw[-1][:size]).hexdigest()
        assert (folded.torn.line, folded.torn.bytes, folded.torn.sha256) == (8, size, sha256)
        assert folded.lines == 7
    # What lies behind it that a power cut left as nothing.
    folded = with_lines(manifest, [*raw, b"\0" * 100 + b"\n"]).folded()
    assert folded.torn is not None
    assert (folded.torn.line, folded.torn.bytes) == (9, 101)


def test_a_last_line_that_lacks_only_its_end_is_whole(manifest: Manifest) -> None:
    raw = lines_of(manifest)
    assert with_lines(manifest, [*raw[:-1], raw[-1].rstrip(b"\n")]).folded().lines == 8
    manifest._trace.forget()
    manifest.say(script(manifest.folder)[5])
    assert len(lines_of(manifest)) == 9
    assert manifest.validate().ok


def test_an_update_does_not_read_the_whole_trace_again(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    real = Trace.steps

    def counted(self: Trace) -> Any:
        reads.append(1)
        return real(self)

    monkeypatch.setattr(Trace, "steps", counted)
    for update in script(manifest.folder)[5:8]:
        manifest.say(update)
    assert reads == []
    # Somebody else writes: then it is read.
    Manifest(manifest.path, port=DyingDisk()).say(script(manifest.folder)[5])
    reads.clear()
    manifest.say(script(manifest.folder)[6])
    assert reads == [1]
    assert len(lines_of(manifest)) == 13


def test_bounds_of_a_line_and_of_a_trace_hold(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lines_of(manifest), manifest.path.read_bytes()
    for name, bound in (("LINE_BYTES_MAX", 300), ("TRACE_BYTES_MAX", sum(map(len, before[0])) + 50)):
        with monkeypatch.context() as patch:
            patch.setattr(trace, name, bound)
            with pytest.raises(ManifestError) as refusal:
                manifest.say(script(manifest.folder)[5])
        assert refusal.value.code == "manifest_trace_full"
        assert (lines_of(manifest), manifest.path.read_bytes()) == before
    manifest.say(script(manifest.folder)[5])
