"""Secrets are found wherever they are left, told by place and digest, and never repeated."""

from __future__ import annotations

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from rspp.cli.verify.engine import Ground, Outcome
from rspp.cli.verify.secrets import ENGINE, hits_in, matches
from tests.unit.cli.verify.planting import SHAPES

ROOT = Path(__file__).parents[4]


def look(folder: Path, out: Path) -> Outcome:
    return ENGINE.run(Ground(folder=folder, out=out, level="security", say=lambda _: None))


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("shape", SHAPES)
def test_each_way_to_leave_a_secret_is_found_in_its_line_and_never_told(shape: str) -> None:
    for seed in range(20):
        text, secret = SHAPES[shape](random.Random(f"{shape}{seed}"))
        hits = hits_in("src/a.txt", f"one\ntwo\n{text}\nend\n".encode())
        assert hits, (shape, seed)
        assert 3 <= hits[0].line <= 3 + text.count("\n"), (shape, seed)
        assert all(secret[4:] not in f"{hit!r}" and len(hit.shown) <= 4 for hit in hits)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_a_secret_is_found_in_every_encoding(encoding: str) -> None:
    text, _ = SHAPES["github_classic"](random.Random(3))
    remark = "ä" if encoding == "latin-1" else ""
    hits = hits_in("a.txt", f"# notes {remark}\n{text}\n".encode(encoding))
    assert [(hit.line, hit.kind) for hit in hits] == [(2, "provider_token")]


def test_a_key_in_a_recording_is_found_although_it_is_no_text() -> None:
    token, _ = SHAPES["stripe_live"](random.Random(1))
    raw = b"\x00\x00\x8ag\xce\x81\xa7message\xd9" + bytes([len(token)]) + token.encode() + b"\xc0\x01"
    assert [(hit.kind, hit.line) for hit in hits_in("calls/s1.rspp", raw)] == [("provider_token", 0)]


def test_a_file_that_begins_with_zeros_is_not_taken_for_wide_text() -> None:
    token, _ = SHAPES["stripe_live"](random.Random(1))
    hits = hits_in("disk.img", bytes(8_192) + token.encode() + bytes(64))
    assert [hit.kind for hit in hits] == ["provider_token"]


def test_a_name_that_is_no_text_is_told_all_the_same(tmp_path: Path) -> None:
    text, _ = SHAPES["npm"](random.Random(5))
    written(tmp_path / "p", os.fsdecode(b"a\xff\x1b[2J.txt"), text)
    told = look(tmp_path / "p", tmp_path / "out")
    assert [one.where for one in told.found] == ["a\\xff\\x1b[2J.txt:1"]


def test_what_verify_itself_has_written_is_left_out_and_nothing_else(tmp_path: Path) -> None:
    text, _ = SHAPES["npm"](random.Random(5))
    for name in (".rspp/verify/old/report.json", ".rspp/notes.txt"):
        written(tmp_path / "p", name, text)
    out = tmp_path / "out"
    out.mkdir()
    own = {"own": [".rspp/verify/"]}
    told = ENGINE.run(
        Ground(folder=tmp_path / "p", out=out, level="security", say=lambda _: None, options=own)
    )
    assert [one.where for one in told.found] == [".rspp/notes.txt:1"]


def test_a_checkout_within_a_checkout_is_told_and_not_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    text, _ = SHAPES["npm"](random.Random(5))
    written(folder, "a.txt", "nothing\n")
    git(folder, "init", "-q")
    written(folder, "inner/b.txt", text)
    git(folder / "inner", "init", "-q")
    git(folder / "inner", "add", ".")
    git(folder / "inner", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "one")
    git(folder, "-c", "advice.addEmbeddedRepo=false", "add", ".")
    told = look(folder, tmp_path / "out")
    assert told.facts["checkouts_not_looked_at"] == ["inner"]
    assert "1 checkouts of others" in told.summary


def test_a_value_under_a_secret_name_is_found_in_a_recording() -> None:
    _, secret = SHAPES["python_keyword"](random.Random(1))
    raw = b"\x00\x00\x8ag\x81\xa7api_key\xd9\x01" + secret.encode() + b"\xc0\x01"
    assert [hit.kind for hit in hits_in("calls/s1.rspp", raw)] == ["assigned"]


def test_an_env_file_holds_secrets_however_plain_and_its_example_holds_none() -> None:
    text = b"DB_PASSWORD=hunter2\nPORT=8080\nAPI_KEY=${FROM_STORE}\n"
    assert [(hit.line, hit.kind) for hit in hits_in("deploy/.env", text)] == [(1, "env_file")]
    assert hits_in("deploy/.env.example", text) == []


def test_a_store_of_keys_is_found_by_its_name_alone() -> None:
    assert [hit.kind for hit in hits_in("tls/server.p12", b"\x30\x82\x00\x01")] == ["key_store"]


@pytest.mark.parametrize(
    "text",
    [
        'api_key = "env://DEEPGRAM_API_KEY"',
        'password: "${DB_PASSWORD}"',
        "postgres://user:password@localhost/x",
        "postgres://app:<password>@db/x",
        "Authorization: Bearer <your-token>",
        'token = "session-token-of-a-caller"',
        'secret_name = "providers/deepgram/api-key"',
        'AWS_ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"',
        'api_key = "Kq7abcdefghPz9Lw2XvB4mNt8"',
        "stripe: sk_live_Kq7zW000000000Lw2XvB4mNt8",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        'digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "max_tokens = 4096",
        "token = self._tokens.next_token_of(session_id)",
        '"integrity": "sha512-MzCVoWtcg4Pm2B3je5mMvYMvj3MmBKw+fU7vbsJc9/iT8ip6/eYIHo/Dsm/mr+wsHB6SEyJDuxB09Yy6r/8+4A=="',
    ],
)
def test_what_stands_in_the_place_of_a_secret_is_none(text: str) -> None:
    assert hits_in("src/a.py", text.encode()) == []


def test_a_finding_is_told_by_file_line_kind_and_digest(tmp_path: Path) -> None:
    text, secret = SHAPES["url_password"](random.Random(5))
    written(tmp_path / "p", "conf/db.yaml", f"a: 1\nurl: {text}\n")
    told = look(tmp_path / "p", tmp_path / "out")
    assert told.verdict == "fail"
    assert [one.where for one in told.found] == ["conf/db.yaml:2"]
    assert "url_password (sha256 " in told.found[0].what
    report = told.files[0].read_text()
    assert secret not in report + told.summary + repr(told)


def test_a_clean_folder_passes_and_says_how_much_was_looked_at(tmp_path: Path) -> None:
    written(tmp_path / "p", "a.py", "x = 1\n")
    told = look(tmp_path / "p", tmp_path / "out")
    assert (told.verdict, told.facts["files"]) == ("pass", 1)


def allow(folder: Path, path: str, digest: str) -> None:
    row = f"  - {{kind: provider_token, path: '{path}', digests: ['{digest}'], reason: 'A token of nobody, for a test.'}}\n"
    written(folder, "verify.yaml", "secrets:\n" + row)


def test_what_is_allowed_by_digest_passes_in_its_files_only_and_a_stale_digest_is_found(
    tmp_path: Path,
) -> None:
    folder, out = tmp_path / "p", tmp_path / "out"
    text, _ = SHAPES["npm"](random.Random(5))
    other, _ = SHAPES["npm"](random.Random(6))
    written(folder, "tests/deep/a.py", text)
    digest = hits_in("a", text.encode())[0].digest
    allow(folder, "tests/**", digest)
    assert look(folder, out).verdict == "pass"
    written(folder, "src/a.py", text)
    assert [one.where for one in look(folder, out).found] == ["src/a.py:1"]
    (folder / "src/a.py").unlink()
    written(folder, "tests/deep/a.py", other)
    assert [one.where for one in look(folder, out).found] == ["tests/deep/a.py:1", "verify.yaml"]


def test_a_star_stays_within_a_folder_and_two_do_not() -> None:
    assert matches("tests/a.py", "tests/*.py")
    assert not matches("tests/x/a.py", "tests/*.py")
    assert matches("tests/x/a.py", "tests/**/*.py")
    assert matches("tests/a.py", "tests/**/*.py")
    assert not matches("testsa.py", "tests?*.py") or matches("testsxa.py", "tests?*.py")


def test_links_are_not_followed_out_of_the_ground(tmp_path: Path) -> None:
    text, _ = SHAPES["npm"](random.Random(5))
    written(tmp_path / "outside", "token.txt", text)
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "file").symlink_to(tmp_path / "outside" / "token.txt")
    (folder / "folder").symlink_to(tmp_path / "outside")
    told = look(folder, tmp_path / "out")
    assert (told.verdict, told.facts["links_not_followed"]) == ("pass", 2)


def test_what_is_too_large_is_told_and_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.cli.verify.searched.tree.FILE_BYTES_MAX", 100)
    written(tmp_path / "p", "large.txt", "x" * 101)
    told = look(tmp_path / "p", tmp_path / "out")
    assert told.facts["too_large"] == ["large.txt"]
    assert "large.txt" in told.summary


def test_more_files_than_are_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.cli.verify.searched.tree.FILES_MAX", 2)
    for number in range(3):
        written(tmp_path / "p", f"{number}.txt", "")
    told = look(tmp_path / "p", tmp_path / "out")
    assert told.facts["cut_short"] is True
    assert "more files" in told.summary


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    written(tmp_path / "p", "a.txt", "x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    told = look(tmp_path / "p", tmp_path / "out")
    assert (told.verdict, [one.where for one in told.found]) == ("fail", ["a.txt"])


def test_a_checkout_is_looked_at_as_git_has_it_and_its_own_configuration_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    text, _ = SHAPES["npm"](random.Random(5))
    written(folder, ".gitignore", "built/\n")
    written(folder, "built/a.txt", text)
    written(folder, "new.txt", "nothing\n")
    git(folder, "init", "-q")
    trap = written(tmp_path, "trap.sh", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    trap.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(trap))
    told = look(folder, tmp_path / "out")
    assert (told.verdict, told.facts["by_git"], told.facts["files"]) == ("pass", True, 2)
    assert not (tmp_path / "ran").exists()
    written(folder, "new.txt", text)  # not added yet, and would be with the next `git add`
    assert look(folder, tmp_path / "out").verdict == "fail"


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    "filler", ["a", "A1", "-", "eyJ", "key=", "-----BEGIN ", "/", "x:", "'", "\n", "sk-a-", "a.b"]
)
def test_hostile_text_of_any_kind_is_looked_through_in_a_moment(filler: str) -> None:
    raw = (filler * (60_000 // len(filler))).encode()
    begun = time.process_time()
    hits_in("a.txt", raw)
    assert time.process_time() - begun < 3


@pytest.mark.slow
@pytest.mark.long
def test_our_own_files_hold_no_secret_and_each_exception_is_needed(tmp_path: Path) -> None:
    told = look(ROOT, tmp_path / "out")
    assert told.verdict == "pass", [(one.where, one.what) for one in told.found]


@pytest.mark.slow
def test_a_secret_of_each_shape_is_found_in_any_of_our_own_files(tmp_path: Path) -> None:
    """Sixty and more files of this project, each with one secret planted at a random line of it."""
    source = random.Random(11)
    names = [
        name
        for name in git_files()
        if name.endswith((".py", ".md", ".yaml", ".ts", ".tsx")) and (ROOT / name).stat().st_size < 60_000
    ]
    folder = tmp_path / "p"
    planted: dict[str, tuple[str, str]] = {}
    for shape, name in zip(SHAPES, source.sample(names, len(SHAPES)), strict=True):
        text, secret = SHAPES[shape](source)
        lines = (ROOT / name).read_text().splitlines()
        lines.insert(source.randrange(len(lines) + 1), text)
        written(folder, name, "\n".join(lines) + "\n")
        planted[name] = (shape, secret)
    told = look(folder, tmp_path / "out")
    found = {one.where.rpartition(":")[0] for one in told.found}
    assert {name: shape for name, (shape, _) in planted.items() if name not in found} == {}
    assert not [shape for shape, secret in planted.values() if secret in repr(told)]


def git_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, timeout=30)
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
