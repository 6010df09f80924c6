"""What was installed is what is there, and nothing that nobody brought is run with it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from rspp.cli.verify.engine import Ground, Outcome
from rspp.cli.verify.installed import ENGINES, EXPECTED_PTH, look
from tests.unit.cli.verify.distributions import install


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "site-packages"
    install(place, "alpha", files={"alpha/fast.so": "machine", "alpha/data.txt": "data"})
    install(place, "beta", files={"../../bin/beta": "#!python\n"})
    return place


def verdict(home: Path, settings: str = "") -> Outcome:
    project = home.parent / "project"
    project.mkdir(exist_ok=True)
    (project / "verify.yaml").write_text(settings or "installed: []\n")
    ground = Ground(folder=project, out=home.parent / "out", level="security", say=lambda _: None)
    return look(ground, [str(home)])


def test_what_is_as_it_was_installed_passes(home: Path) -> None:
    told = verdict(home)
    assert (told.verdict, told.facts["distributions"], told.facts["files"]) == ("pass", 2, 9)


@pytest.mark.parametrize("path", ["alpha/__init__.py", "alpha/fast.so", "alpha/data.txt", "../../bin/beta"])
def test_each_changed_file_is_found_with_its_package(home: Path, path: str) -> None:
    (home / path).write_text("evil")
    told = verdict(home)
    assert told.verdict == "fail"
    assert [one.where for one in told.found] == [path]
    assert told.found[0].what.startswith(("alpha:", "beta:"))
    assert "Install" in told.found[0].fix


def test_a_missing_file_and_a_pipe_in_its_place_are_found(home: Path) -> None:
    (home / "alpha/fast.so").unlink()
    assert "is gone" in verdict(home).found[0].what
    os.mkfifo(home / "alpha/fast.so")  # reading it would wait for ever
    assert "is not what was installed" in verdict(home).found[0].what


@pytest.mark.parametrize(
    "path",
    [
        "alpha/extra.py",
        "alpha/extra.so",
        "alpha/old.pyc",
        "sitecustomize.py",
        "evil.pth",
        "gamma/__init__.py",
    ],
)
def test_code_that_no_package_brought_is_found(home: Path, path: str) -> None:
    (home / path).parent.mkdir(exist_ok=True)
    (home / path).write_text("import os\n")
    assert [one.where for one in verdict(home).found] == [path]


def test_what_python_keeps_for_itself_is_left_out(home: Path) -> None:
    cache = home / "alpha/__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"x")
    (home / "alpha/notes.txt").write_text("no code")
    assert verdict(home).verdict == "pass"


def test_a_link_to_another_folder_among_the_packages_is_found(home: Path) -> None:
    (home.parent / "elsewhere").mkdir()
    (home / "gamma").symlink_to(home.parent / "elsewhere")
    assert [one.where for one in verdict(home).found] == ["gamma"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os; os.system('x')\n", "runs code"),
        ("import\tos\n", "runs code"),
        ("/somewhere/else\n", "leads Python"),
    ],
)
def test_a_recorded_pth_that_runs_code_or_leads_away_is_found(home: Path, text: str, words: str) -> None:
    install(home, "gamma", files={"gamma.pth": text})
    told = verdict(home)
    assert [one.where for one in told.found] == ["gamma.pth"]
    assert words in told.found[0].what


def test_the_expected_pth_passes_only_word_for_word(home: Path) -> None:
    name, text = next(iter(EXPECTED_PTH.items()))
    install(home, "setuptools", files={name: text + "\n"})
    assert verdict(home).verdict == "pass"
    install(home, "setuptools", files={name: text + "; import evil\n"})
    assert verdict(home).verdict == "fail"


def test_a_package_that_brings_a_start_file_is_found(home: Path) -> None:
    install(home, "gamma", files={"sitecustomize.py": "x = 1\n"})
    assert "at each start" in verdict(home).found[0].what


def test_an_editable_package_stands_for_its_folder(home: Path) -> None:
    told = {
        "gamma.pth": "/somewhere/src\n",
        "gamma-1.0.dist-info/direct_url.json": '{"dir_info":{"editable":true}}',
    }
    install(home, "gamma", files=told)
    outcome = verdict(home)
    assert (outcome.verdict, outcome.facts["editable"]) == ("pass", ["gamma"])


def test_a_record_without_a_digest_proves_nothing(home: Path) -> None:
    record = home / "alpha-1.0.dist-info/RECORD"
    record.write_text(record.read_text().replace("alpha/fast.so,sha256=", "alpha/fast.so,md5="))
    assert "no digest" in verdict(home).found[0].what


def test_a_package_of_pip_without_a_record_is_found_and_one_of_the_system_is_told(home: Path) -> None:
    (home / "alpha-1.0.dist-info/RECORD").unlink()
    told = verdict(home)
    assert "has no record" in told.found[0].what
    for name in ("alpha", "beta"):
        (home / f"{name}-1.0.dist-info/INSTALLER").write_text("debian\n")
        (home / f"{name}-1.0.dist-info/RECORD").unlink(missing_ok=True)
    told = verdict(home)
    assert (told.verdict, told.facts["without_record"]) == ("pass", ["alpha", "beta"])
    assert told.facts["not_searched_for_foreign_code"] == 1


def test_a_package_without_a_record_hides_no_code_beside_those_that_have_one(home: Path) -> None:
    (home / "nothing-1.0.dist-info").mkdir()
    (home / "nothing-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.4\nName: nothing\nVersion: 1.0\n"
    )
    (home / "evil.py").write_text("import os\n")
    assert {one.where for one in verdict(home).found} == {"nothing", "evil.py"}


def test_a_record_that_is_no_text_and_a_name_that_is_none_are_faults_and_no_crash(home: Path) -> None:
    (home / os.fsdecode(b"odd\xff.py")).write_text("x = 1\n")
    assert [one.where for one in verdict(home).found] == ["odd\\xff.py"]
    (home / "alpha-1.0.dist-info/RECORD").write_bytes(b"alpha/\xff.py,,\n")
    assert "alpha was installed by pip and has no record" in verdict(home).found[0].what


def test_an_exception_holds_for_the_file_that_was_meant_and_is_found_when_stale(home: Path) -> None:
    (home / "local.pth").write_text("import local\n")
    digest = hashlib.sha256(b"import local\n").hexdigest()
    settings = f"installed:\n  - {{path: local.pth, sha256: '{digest}', reason: 'Ours, on every machine.'}}\n"
    assert verdict(home, settings).verdict == "pass"
    (home / "local.pth").write_text("import evil\n")
    assert [one.where for one in verdict(home, settings).found] == ["local.pth", "verify.yaml"]


def test_a_package_that_is_gone_altogether_is_one_finding(home: Path) -> None:
    install(home, "gamma", files={f"gamma/m{number}.py": "" for number in range(30)})
    for file in (home / "gamma").iterdir():
        file.unlink()
    told = verdict(home)
    assert [one.what.startswith("gamma: of 31 files each is gone") for one in told.found] == [True]


def test_hostile_records_are_faults_and_no_crash(home: Path) -> None:
    record = home / "alpha-1.0.dist-info/RECORD"
    record.write_text(
        record.read_text() + "/dev/zero,sha256=AAAA,\n\x01,sha256=%%%,x\nalpha/../../../x,,\n,,\n"
    )
    told = verdict(home)
    assert told.verdict == "fail"


@pytest.mark.slow
@pytest.mark.long
def test_our_own_environment_is_what_was_installed(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    told = ENGINES[0].run(Ground(folder=root, out=tmp_path, level="security", say=lambda _: None))
    assert told.verdict == "pass", [(one.where, one.what) for one in told.found]
