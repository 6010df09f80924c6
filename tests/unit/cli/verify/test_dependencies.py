"""What a project depends on: pinned by digest, installed as pinned, allowed, and without a known fault."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rspp.cli.verify.dependencies import ENGINE
from rspp.cli.verify.engine import Ground, Outcome
from rspp.contract.errors import MisuseError
from tests.unit.cli.verify.distributions import install

ROOT = Path(__file__).parents[4]
HASH = f"--hash=sha256:{'ab' * 32}"
GOOD = f"alpha==1.0 \\\n    {HASH}\nbeta==2.0 ; python_version >= '3' {HASH}  # a remark\nold==1 ; python_version < '3' {HASH}\n"
PROJECT = """
[project]
name = "Demo"
dependencies = ["alpha>=1,<2", "demo[fast]"]
[project.optional-dependencies]
fast = ["beta~=2.0; python_version >= '3'"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "site-packages"
    install(home, "alpha")
    install(home, "beta", "2.0")
    monkeypatch.setattr(sys, "path", [str(home)])
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "requirements.lock").write_text(GOOD)
    return project


def look(folder: Path, **options: Any) -> Outcome:
    out = folder.parent / "out"
    return ENGINE.run(Ground(folder=folder, out=out, level="security", say=lambda _: None, options=options))


def whats(told: Outcome) -> list[str]:
    return [one.what for one in told.found]


def test_a_project_that_is_pinned_and_installed_as_pinned_passes_and_says_that_no_advisory_was_given(
    folder: Path,
) -> None:
    told = look(folder)
    assert (told.verdict, told.found) == ("pass", ())
    assert told.facts["advisories"] is None
    assert "no advisories were given" in told.summary
    assert json.loads(told.files[0].read_text())["facts"]["pinned"] == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"gamma>=1.0 {HASH}", "not pinned"),
        (f"gamma==1.* {HASH}", "not pinned"),
        (f"gamma {HASH}", "not pinned"),
        (f"gamma==1.0,<2 {HASH}", "not pinned"),
        (f"gamma===1.0 {HASH}", "not pinned"),
        ("gamma==1.0", "no hash"),
        (f"gamma==1.0 --hash=md5:{'ab' * 16}", "proves nothing"),
        ("gamma==1.0 --hash=sha256:abcd", "proves nothing"),
        (f"gamma @ https://files.test/gamma.whl {HASH}", "place of its own"),
        ("git+https://git.test/gamma.git@main", "place of its own"),
        ("./gamma", "place of its own"),
        ("-e ./gamma", "editable"),
        ("--editable=./gamma", "editable"),
        ("-r other.txt", "another file"),
        ("--index-url https://index.test/simple", "where packages come from"),
        ("--extra-index-url=https://index.test/simple", "where packages come from"),
        ("--find-links wheels", "where packages come from"),
        ("--trusted-host index.test", "where packages come from"),
        (f"alpha==1.1 {HASH}", "pinned twice"),
        (f"gamma==1.0 ; nonsense == {HASH}", "no marker"),
        ("???", "no requirement"),
    ],
)
def test_each_line_that_pins_less_than_it_must_is_found_with_its_number(
    folder: Path, line: str, words: str
) -> None:
    (folder / "requirements.lock").write_text(f"{GOOD}{line}\n")
    told = look(folder)
    assert told.verdict == "fail"
    assert [one.where for one in told.found] == ["requirements.lock:5"]
    assert words in told.found[0].what
    assert told.found[0].fix


def test_options_that_fetch_nothing_are_let_be(folder: Path) -> None:
    (folder / "requirements.lock").write_text(f"--require-hashes\n--only-binary :all:\n# all\n\n{GOOD}")
    assert look(folder).verdict == "pass"


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ('"gamma>=1"', "gamma is declared and not in requirements.lock"),
        ('"alpha>=2"', "alpha is pinned to 1.0, which '>=2' does not take"),
        ('"alpha @ https://files.test/a.whl"', "alpha is asked for from a place of its own"),
        ('"???"', "is no requirement"),
        ("3", "is no requirement"),
    ],
)
def test_what_is_declared_is_in_the_lock(folder: Path, declared: str, words: str) -> None:
    (folder / "pyproject.toml").write_text(
        f'{PROJECT}[dependency-groups]\ndev = [{declared}, {{include-group = "x"}}]\n'
    )
    assert any(words in what for what in whats(look(folder)))


def test_a_project_without_a_lock_is_found_and_one_in_another_form_is_told_by_its_name(folder: Path) -> None:
    (folder / "requirements.lock").unlink()
    assert "no lock pins them" in whats(look(folder))[0]
    (folder / "poetry.lock").write_text("")
    told = look(folder)
    assert "poetry.lock is a form that is not understood" in told.found[0].what


def test_a_lock_that_cannot_be_read_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "requirements.lock").write_bytes(b"\xff\xfe")
    assert "it is not UTF-8" in whats(look(folder))[0]
    (folder / "requirements.lock").write_text(GOOD)
    monkeypatch.setattr("rspp.cli.verify.packages.locks.BYTES_MAX", 50)
    assert "it has more than 50 bytes" in whats(look(folder))[0]


def test_what_is_installed_is_what_the_lock_says(folder: Path) -> None:
    text = GOOD.replace("alpha==1.0", "alpha==1.5") + f"gone==1.0 {HASH}\n"
    (folder / "requirements.lock").write_text(text)
    assert whats(look(folder)) == [
        "alpha 1.0 is installed, and the lock says 1.5.",
        "gone 1.0 is in the lock and not installed.",
    ]


def test_what_is_installed_beside_the_lock_is_told_and_no_fault(folder: Path) -> None:
    install(folder.parent / "site-packages", "extra")
    install(folder.parent / "site-packages", "pip")
    told = look(folder)
    assert (told.verdict, told.facts["not_in_the_lock"]) == ("pass", ["extra"])
    assert "extra" in told.summary


def test_a_locked_package_that_stands_for_a_folder_is_found(folder: Path) -> None:
    info = folder.parent / "site-packages" / "alpha-1.0.dist-info"
    (info / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    assert "installed from a folder" in whats(look(folder))[0]


# --- uv.lock ---------------------------------------------------------------------------------------------------


def uv(**alpha: object) -> str:
    entry = {
        "name": "alpha",
        "version": "1.0",
        "source": {"registry": "r"},
        "wheels": [{"hash": f"sha256:{'ab' * 32}"}],
    }
    beta = entry | {"name": "beta", "version": "2.0"}
    own = {"name": "demo", "version": "0.1", "source": {"editable": "."}}
    return "version = 1\n" + "".join(f"[[package]]\n{toml(one)}" for one in (entry | alpha, beta, own))


def toml(table: Mapping[str, object]) -> str:
    def value(one: object) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{key} = {value(it)}" for key, it in one.items()) + "}"
        return "[" + ", ".join(map(value, one)) + "]" if isinstance(one, list) else json.dumps(one)

    return "".join(f"{key} = {value(one)}\n" for key, one in table.items())


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({}, ""),
        ({"source": {"git": "https://git.test/x"}}, "a place of its own (git)"),
        ({"source": {"url": "https://files.test/x.whl"}}, "a place of its own (url)"),
        ({"wheels": []}, "has no file"),
        ({"wheels": [{"url": "x"}]}, "without a hash"),
        ({"version": "x"}, "not pinned"),
        ({"resolution-markers": ["python_version < '3'"]}, ""),
    ],
)
def test_a_lock_of_uv_is_read_too(folder: Path, entry: dict[str, object], words: str) -> None:
    (folder / "requirements.lock").unlink()
    (folder / "uv.lock").write_text(uv(**entry))
    told = look(folder)
    assert (told.verdict == "pass") is (words == "")
    assert words == "" or words in whats(told)[0]
    assert told.facts["lock"] == "uv.lock"


# --- npm -------------------------------------------------------------------------------------------------------

DIGEST = "sha512-" + base64.b64encode(bytes(64)).decode()


def npm(folder: Path, entry: Mapping[str, object] | None = None, form: int = 3) -> None:
    (folder / "web").mkdir()
    pinned = {"version": "1.0.0", "integrity": DIGEST, "license": "MIT"} | dict(entry or {})
    packages = {"": {"dependencies": {"thing": "^1"}}, "node_modules/thing": pinned}
    (folder / "web/package.json").write_text(json.dumps({"dependencies": {"thing": "^1"}}))
    (folder / "web/package-lock.json").write_text(json.dumps({"lockfileVersion": form, "packages": packages}))


def test_a_lock_of_npm_with_digests_and_without_places_passes(folder: Path) -> None:
    npm(folder)
    told = look(folder)
    assert (told.verdict, told.facts["npm"]) == ("pass", {"web/package-lock.json": 1})


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"integrity": None}, "no digest"),
        ({"integrity": "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, "no digest"),
        ({"integrity": "sha512-AAAA"}, "no digest"),
        ({"resolved": "https://registry.test/thing.tgz"}, "names the place"),
        ({"version": "git+ssh://git.test/x"}, "no version"),
        ({"link": True}, "is a link"),
        ({"license": "GPL-3.0-only"}, "not on the list"),
    ],
)
def test_each_entry_of_npm_that_pins_less_than_it_must_is_found(
    folder: Path, entry: dict[str, object], words: str
) -> None:
    npm(folder, entry)
    told = look(folder)
    assert told.verdict == "fail"
    assert words in whats(told)[0]
    assert told.found[0].where == "web/package-lock.json"


def test_a_lock_of_npm_that_was_written_for_something_else_is_found(folder: Path) -> None:
    npm(folder)
    (folder / "web/package.json").write_text(json.dumps({"dependencies": {"thing": "^2", "other": "1"}}))
    assert any("something else" in what for what in whats(look(folder)))
    assert any("other is asked for" in what for what in whats(look(folder)))


def test_an_old_form_of_npm_is_not_understood_and_said_so(folder: Path) -> None:
    npm(folder, form=1)
    assert "only versions 2 and 3" in whats(look(folder))[0]


# --- licences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "passes"),
    [
        ("License: BSD\n", True),
        ("Classifier: License :: OSI Approved :: MIT License\n", True),
        ("License: a very long text\nClassifier: License :: OSI Approved :: Apache Software License\n", True),
        ("License-Expression: GPL-3.0-or-later\nLicense: MIT\n", False),
        ("License: GPLv3\n", False),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3\n", False),
        ("Classifier: License :: Other/Proprietary License\n", False),
        ("", False),
    ],
)
def test_a_licence_is_read_from_what_the_package_says(folder: Path, told: str, passes: bool) -> None:
    install(folder.parent / "site-packages", "alpha", told=told)
    outcome = look(folder)
    assert (outcome.verdict == "pass") is passes, whats(outcome)


def test_a_package_that_only_carries_its_licence_is_known_by_its_title(folder: Path) -> None:
    files = {"alpha-1.0.dist-info/licenses/LICENSE": "\nThe MIT License\n\nCopyright\n"}
    install(folder.parent / "site-packages", "alpha", files=files, told="License-File: LICENSE\n")
    assert look(folder).verdict == "pass"


def terms(folder: Path, name: str, licence: str) -> None:
    row = f"  - {{licence: {licence}, packages: ['{name}'], reason: 'It is only for a test.'}}\n"
    (folder / "verify.yaml").write_text("licences:\n" + row)


def test_an_exception_with_its_reason_holds_and_is_found_when_nothing_needs_it(folder: Path) -> None:
    install(folder.parent / "site-packages", "alpha", told="License-Expression: MPL-2.0\n")
    terms(folder, "alpha", "MPL-2.0")
    assert look(folder).verdict == "pass"
    terms(folder, "alpha", "LGPL-3.0-only")
    assert "is under 'MPL-2.0'" in whats(look(folder))[0]
    terms(folder, "beta", "MPL-2.0")
    assert any("needed by nothing" in what for what in whats(look(folder)))


@pytest.mark.parametrize(
    "text",
    ["licences: 3", "licenses: []", "licences:\n  - {licence: MIT}\n", "[", "- a", "x: " + "y" * 300_000],
)
def test_settings_that_nobody_understands_are_refused_with_their_place(folder: Path, text: str) -> None:
    (folder / "verify.yaml").write_text(text)
    with pytest.raises(MisuseError, match=r"verify\.yaml") as refused:
        look(folder)
    assert refused.value.code == "verify_settings_invalid"


# --- advisories ------------------------------------------------------------------------------------------------


def advise(folder: Path, name: str = "alpha", events: list[dict[str, str]] | None = None) -> Path:
    place = folder / "advisories"
    place.mkdir(exist_ok=True)
    ranges = [{"type": "ECOSYSTEM", "events": events or [{"introduced": "0"}, {"fixed": "1.5"}]}]
    affected = [{"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges}]
    one = {"id": "PYSEC-1", "aliases": ["CVE-2026-1"], "affected": affected}
    (place / "PYSEC-1.json").write_text(json.dumps(one))
    return place


def test_a_pinned_version_with_a_known_fault_is_found_in_its_line(folder: Path) -> None:
    advise(folder)
    told = look(folder)
    assert [one.where for one in told.found] == ["requirements.lock:1"]
    assert "PYSEC-1" in told.found[0].what
    assert "1.5" in told.found[0].fix


def test_advisories_are_taken_from_where_they_are_given(folder: Path) -> None:
    elsewhere = folder.parent / "osv"
    advise(folder).rename(elsewhere)
    assert look(folder).verdict == "pass"
    assert look(folder, advisories=str(elsewhere)).verdict == "fail"
    assert "no such folder" in whats(look(folder, advisories=str(folder / "none")))[0]


def test_what_is_installed_beside_the_lock_may_have_a_known_fault(folder: Path) -> None:
    install(folder.parent / "site-packages", "extra")
    advise(folder, "extra")
    assert [one.where for one in look(folder).found] == ["installed"]


def test_a_version_that_is_mended_passes_and_the_summary_counts(folder: Path) -> None:
    advise(folder, events=[{"introduced": "0"}, {"fixed": "1.0"}])
    told = look(folder)
    assert (told.verdict, told.facts["advisories"]) == (
        "pass",
        {"in_force": 1, "withdrawn": 0, "elsewhere": 0},
    )
    assert "1 advisories looked through" in told.summary


def test_a_fault_that_does_not_concern_the_project_is_excused_by_any_of_its_names(folder: Path) -> None:
    advise(folder)
    row = "  - {id: CVE-2026-1, package: Alpha, reason: 'That part of it is never called.'}\n"
    (folder / "verify.yaml").write_text("advisories:\n" + row)
    assert look(folder).verdict == "pass"
    advise(folder, "somebody-else")
    assert "does not concern it any longer" in whats(look(folder))[0]


# --- the ground ------------------------------------------------------------------------------------------------


def test_a_folder_that_declares_and_pins_nothing_is_not_asked_for(tmp_path: Path) -> None:
    assert ENGINE.applies is not None
    ground = Ground(folder=tmp_path, out=tmp_path / "out", level="security", say=lambda _: None)
    assert not ENGINE.applies(ground)
    (tmp_path / "poetry.lock").write_text("")
    assert ENGINE.applies(ground)


def test_our_own_lock_is_whole_and_each_exception_is_needed(tmp_path: Path) -> None:
    told = ENGINE.run(Ground(folder=ROOT, out=tmp_path, level="security", say=lambda _: None))
    assert told.verdict == "pass", [(one.where, one.what) for one in told.found]


def test_lines_of_blanks_are_read_in_a_moment(folder: Path) -> None:
    """They could be taken apart in very many ways, and these files may come from anywhere."""
    (folder / "pyproject.toml").write_text(f'[project]\nname = "demo"\ndependencies = ["a{" " * 2_000}(("]\n')
    (folder / "requirements.lock").write_text(f"a=={' ' * 20_000}x ;{' ' * 20_000}\n")
    begun = time.process_time()
    told = look(folder)
    assert told.verdict == "fail"
    assert time.process_time() - begun < 3
