"""`rspp verify` on a copy of the project itself: PASS as it is, and FAIL with code, fixes and a way on for each planted fault.

The copy is verified by its own code, in processes of its own; the work folder lies outside of it. Ten of the faults are met by the
whole level `full`, which ends at the first; the others say at which level, or by which engine alone, they are looked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rspp.cli.verify.ground import visible
from rspp.cli.verify.keeping import MANIFEST
from rspp.cli.verify.report import VerifyReport
from rspp.manifest import Manifest
from rspp.manifest.document import ResultStatus

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = "from rspp.cli.verify.main import command; command()"
TIMEOUT_S: Final = 900
ADDED: Final = "added_by_test"  # how every file is called that a fault brings along


class Copy:
    """The project's files, and what it is run with."""

    def __init__(self, home: Path) -> None:
        self.folder, self.home = home / "rspp", home
        for name in visible(ROOT):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path, follow_symlinks=False)

    def verify(
        self, *words: str, work: str, paths: tuple[str, ...] = ()
    ) -> tuple[int, VerifyReport, Manifest]:
        """One run in a process of its own; its status, its report, its manifest."""
        report = self.home / f"{work}.json"
        report.unlink(missing_ok=True)
        folder = self.home / work
        command = [sys.executable, "-P", "-c", PROGRAM, *words[:1], str(self.folder), *words[1:]]
        done = subprocess.run(
            [*command, "--work", str(folder), "--out", str(report)],
            cwd=self.home,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(self.folder / "src"), *paths))},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert report.is_file(), f"{done.stdout}\n{done.stderr}"
        told = msgspec.json.decode(report.read_bytes(), type=VerifyReport)
        return done.returncode, told, Manifest(folder / MANIFEST, root=self.folder)

    @contextmanager
    def with_fault(self, plant: Plant) -> Iterator[tuple[str, ...]]:
        """The fault is there while the block lasts, and afterwards everything is as it was."""
        before = {path: path.read_bytes() for path in self.folder.rglob("*") if path.name in plant.touches}
        paths = plant.plant(self.folder)
        try:
            yield paths
        finally:
            for path in self.folder.rglob(f"{ADDED}*"):
                path.unlink()
            for path, data in before.items():
                path.write_bytes(data)


class Plant(msgspec.Struct, frozen=True):
    """One fault: how it gets in, who has to find it, and what is said of it."""

    name: str
    engine: str
    code: str
    where: str  # part of a reason
    fix: str  # part of a fix
    plant: Callable[[Path], tuple[str, ...]]  # gives what has to lie on the path of modules, too
    touches: tuple[str, ...] = ()  # names of files
    level: str = "full"
    alone: bool = False  # by its engine only: run whole, an engine before it finds the same fault


def instead(name: str, old: str, new: str) -> Callable[[Path], tuple[str, ...]]:
    """In this file, these words instead of those."""

    def plant(folder: Path) -> tuple[str, ...]:
        path = folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} does not say once: {old}"
        path.write_text(text.replace(old, new))
        return ()

    return plant


def added(name: str, text: str) -> Callable[[Path], tuple[str, ...]]:
    """This at the end of a file, or a new file."""

    def plant(folder: Path) -> tuple[str, ...]:
        with (folder / name).open("a") as file:
            file.write(text)
        return ()

    return plant


def corrupt(folder: Path) -> tuple[str, ...]:
    path = folder / "tests/replay/journals/plain.rspp"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return ()


def changed_package(folder: Path) -> tuple[str, ...]:
    """A package beside the others, one of whose files is not what its record says."""
    site = folder.parent / "site"
    about = site / "planted_package-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (site / "planted_package.py").write_text("WORD = 'changed'\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"WORD = 'true'\n").digest()).rstrip(b"=").decode()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: planted-package\nVersion: 1.0\nLicense: MIT\n"
    )
    (about / "INSTALLER").write_text("pip\n")
    rows = [f"planted_package.py,sha256={digest},14"]
    for name in ("METADATA", "INSTALLER"):
        own = base64.urlsafe_b64encode(hashlib.sha256((about / name).read_bytes()).digest())
        size = (about / name).stat().st_size
        rows.append(f"{about.name}/{name},sha256={own.rstrip(b'=').decode()},{size}")
    (about / "RECORD").write_text("\n".join([*rows, f"{about.name}/RECORD,,"]) + "\n")
    return (str(site),)


# Backwards, so that the scan of this very file finds nothing.
SECRET: Final = "MTDW7XNVLPZRGE3QAIKA"[::-1]
SECRET_KEY: Final = "5nV2qLk8RzYCifRxPb/GNEDM7K/IMEFntUXr1aJw"[::-1]

PLANTS: Final = (
    Plant(
        "a schema that breaks its readers",
        "contract",
        "contract_broken",
        "a breaking change",
        "raise the major version",
        instead("src/rspp/contract/schema.py", '"NodePolicy": {"concurrency_limit": 0}', '"NodePolicy": {"concurrency_limit": 2}'),
        ("schema.py",),
    ),
    Plant(
        "a reference page that is stale",
        "contract",
        "contract_broken",
        "docs/reference/codes.md",
        "rspp docs",
        added("docs/reference/codes.md", "one more line\n"),
        ("codes.md",),
    ),
    Plant(
        "an example that does not compile",
        "contract",
        "contract_broken",
        "examples/voice-minimal.yaml",
        "",
        instead("examples/voice-minimal.yaml", "template: voice", "template: dance"),
        ("voice-minimal.yaml",),
    ),
    Plant(
        "an import that goes up",
        "contract",
        "contract_broken",
        "an import goes up",
        "a lower room",
        added("src/rspp/media/added_by_test.py", "def late() -> None:\n    import rspp.host.host\n"),
    ),
    Plant(
        "a secret in a file",
        "secrets",
        "secret_found",
        "added_by_test.env",
        "",
        added("deploy/added_by_test.env", f"AWS_ACCESS_KEY_ID={SECRET}\nAWS_SECRET_ACCESS_KEY={SECRET_KEY}\n"),
    ),
    Plant(
        "a dependency that is not in the lock",
        "dependencies",
        "dependency_unsafe",
        "planted-and-unlocked",
        "",
        instead("pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "planted-and-unlocked>=1",\n'),
        ("pyproject.toml",),
    ),
    Plant(
        "an installed file that was changed",
        "installed",
        "installed_changed",
        "planted_package",
        "",
        changed_package,
        level="security",
    ),
    Plant(
        "a recording that is corrupt",
        "replay",
        "replay_diverged",
        "plain.rspp",
        "as it was kept",
        corrupt,
        ("plain.rspp",),
    ),
    Plant(
        "a decision that is another one than it was",
        "replay",
        "replay_diverged",
        "tests/replay/journals",
        "take the change back",
        instead("src/rspp/kernel/playout.py", "(into + 999) // 1000", "(into + 999) // 2000"),
        ("playout.py",),
    ),
    Plant(
        "an adapter that does not keep to its port",
        "conformance",
        "adapter_nonconforming",
        "store sqlite",
        "rspp conformance store sqlite",
        instead("src/rspp/adapters/stores/sqlite/keys.py", "if expect != (row[0] if row else 0):", "if expect == 0 and row:"),
        ("keys.py",),
    ),
    Plant(
        "a kernel that lets a cancelled turn play on",
        "simulator",
        "simulator_violation",
        "INV-09",
        "rspp sim run",
        instead("src/rspp/kernel/egress.py", "desk.now)\n        self.stop(turn, reason)\n", "desk.now)\n"),
        ("egress.py",),
        alone=True,
    ),
    Plant(
        "evidence without the moment of its fence",
        "gates",
        "gates_unfit",
        "gate 3, cancel fence",
        "rspp gates",
        instead("src/rspp/kernel/evidence.py", "cancel_fence_at=cancelled.fence_at if cancelled else None", "cancel_fence_at=None"),
        ("evidence.py",),
        alone=True,
    ),
    Plant(
        "an engine that breaks",
        "contract",
        "engine_broken",
        "planted: no such thing",
        "engine.log",
        instead("src/rspp/cli/verify/contract.py", "        some = list(check(ground))\n", '        raise KeyError("planted: no such thing")\n'),
        ("contract.py",),
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("verify"))


def fails(copy: Copy, plant: Plant) -> None:
    """The fault is found by its engine, the engines before it pass, and the manifest says what the report does."""
    work = re.sub(r"\W+", "-", plant.name)
    some = ("--only", plant.engine) if plant.alone else ()
    with copy.with_fault(plant) as paths:
        status, report, manifest = copy.verify(plant.level, *some, work=work, paths=paths)
    document = manifest.document
    assert (status, report.verdict, report.fail_code) == (1, "fail", plant.code), report.reasons
    assert report.engines[-1].name == plant.engine
    assert {one.verdict for one in report.engines[:-1]} <= {"pass"}
    assert report.whole == (not plant.alone)
    assert document.LAST_RESULT.STATUS is ResultStatus.FAIL
    assert (plant.code, report.fixes) == (document.LAST_RESULT.FAIL_CODE, document.LAST_RESULT.FIX_LIST)
    assert any(plant.where in reason for reason in document.LAST_RESULT.FAIL_REASONS)
    assert any(plant.fix in fix for fix in document.LAST_RESULT.FIX_LIST)
    requirement = f"engine {plant.engine}: it passes again ({plant.code})"
    assert (requirement,) == document.RESUME.RESUME_REQUIREMENTS
    assert not document.RESUME.RESUME_ALLOWED
    assert manifest.validate().ok
    assert SECRET not in "".join(path.read_text(errors="replace") for path in files(copy.home / work))
    assert str(copy.home) not in json.dumps(msgspec.to_builtins(document))


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_ten_faults_and_more_are_planted_into_the_whole_level_that_a_release_rests_on() -> None:
    assert sum(one.level == "full" and not one.alone for one in PLANTS) >= 10


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_each_planted_fault_is_found_and_says_what_is_needed(copy: Copy, plant: Plant) -> None:
    fails(copy, plant)


@pytest.mark.slow
@pytest.mark.long
def test_the_project_passes_whole_and_does_so_again_after_a_fault_was_mended(copy: Copy) -> None:
    """The whole level: stopped by a fault in its first engine, then mended and resumed to a PASS over everything."""
    plant = next(one for one in PLANTS if one.name == "an example that does not compile")
    with copy.with_fault(plant):
        status, failed, _ = copy.verify("full", work="whole")
        assert (status, failed.fail_code, failed.engines[-1].name) == (1, plant.code, plant.engine)
        assert {one.why for one in failed.left} == {"not reached"}
        status, again, _ = copy.verify("full", "--resume", work="whole")
        assert (status, again.step, again.requirements) == (1, failed.step, failed.requirements)
    status, report, manifest = copy.verify("full", "--resume", work="whole")
    assert (status, report.verdict, report.whole, report.left) == (0, "pass", True, ()), report.reasons
    assert report.step != failed.step
    assert manifest.document.LAST_RESULT.STATUS is ResultStatus.PASS
    ran: Mapping[str, Any] = {
        one.eng_key: one.status for one in manifest.document.LEDGERS.ENGINE_RUN_LEDGER.entries
    }
    assert set(manifest.document.ROUTING.REQUIRED_ENG_KEYS) <= {
        key for key, one in ran.items() if one == "ran"
    }
    assert manifest.validate().ok
