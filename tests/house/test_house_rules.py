"""The house keeps its rules, and each rule bites."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.house import rules

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "rspp"
PURE_ROOMS = ("contract", "spec", "kernel")

# A file that may break a rule, with the reason. An entry that is no longer needed fails the test.
EXCEPTIONS: dict[tuple[str, str], str] = {}

# Written in pieces, so that this file passes its own test.
HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".",
    "debian" + ".org",
    "crates" + ".io",
    "anaconda" + ".org",
    "proxy.golang" + ".org",
]
FOLDERS = ["home", "root", "work", "Users", "opt"]
# A folder of a machine, but not `src/work/x`, which starts with a word, nor `$/root`, which is a JSON path.
FOLDER = r"(?<![\w.*$}~-])/(?:" + "|".join(FOLDERS) + r")/\w"
ADDRESS = re.compile("|".join([*map(re.escape, HOSTS), FOLDER]), re.IGNORECASE)


def python_files(*rooms: str) -> list[Path]:
    folders = [SOURCE / room for room in rooms] or [SOURCE]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def tracked_files() -> list[Path]:
    """Everything that is or would be committed."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def faults_of(rule: rules.Rule, name: str, files: list[Path]) -> list[str]:
    faults = []
    for path in files:
        where = path.relative_to(ROOT).as_posix()
        found = rule(path.read_text(encoding="utf-8"))
        if (where, name) in EXCEPTIONS:
            if not found:
                faults.append(f"{where}: keeps '{name}' again; remove its exception")
            continue
        faults += [f"{where}: {fault}" for fault in found]
    return faults


@pytest.mark.parametrize("name", rules.PURE_RULES)
def test_what_decides_keeps(name: str) -> None:
    assert faults_of(rules.PURE_RULES[name], name, python_files(*PURE_ROOMS)) == []


@pytest.mark.parametrize("name", rules.SOURCE_RULES)
def test_all_sources_keep(name: str) -> None:
    assert faults_of(rules.SOURCE_RULES[name], name, python_files()) == []


def test_every_room_says_what_it_is() -> None:
    rooms = sorted({path.parent for path in python_files()})
    silent = [
        room.relative_to(ROOT).as_posix()
        for room in rooms
        if not (room / "__init__.py").exists()
        or not ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_no_file_names_this_machine_or_a_registry() -> None:
    faults = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # recorded journals and sounds
        faults += [
            f"{path.relative_to(ROOT).as_posix()}:{number}: {match.group()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if (match := ADDRESS.search(line))
        ]
    assert faults == []


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    line = re.compile(
        r"[a-z0-9-]+==[\w.+!]+( ; [\w' =<>!.()]+)? \\"  # a package, with the platform that needs it
        r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    )
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    assert [text for text in lock if not line.fullmatch(text)] == []


def test_ci_runs_what_the_readme_tells_a_reader_to_run() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


GOOD = """
from collections import deque
from typing import Final
TABLE: Final = {"a": 1}
__all__ = ["TABLE"]
ready = deque(maxlen=3)
# bounded: by the open calls of one session
calls = deque()
for name in sorted({"a", "b"}):
    pass
"""

BAD = {
    "imports": ["import time", "from os import path", "def f():\n    import asyncio.tasks"],
    "coroutines": ["async def f(): ...", "async def f():\n    await g()"],
    "unstable calls": ["key = id(x)", "key = hash('a')"],
    "set iteration": [
        "for x in {1, 2}: ...",
        "for x in set(y): ...",
        "[x for x in frozenset(y) | z]",
        "list({1, 2})",
        "','.join(set(y))",
        "[*{1, 2}]",
    ],
    "deques": ["from collections import deque\nx = deque()", "x = collections.deque([1])"],
    "module state": [
        "cache = {}",
        "CACHE = {}",
        "seen: set[str] = set()",
        "from collections import defaultdict\nx = defaultdict(list)",
        "def f():\n    global x\n    x = 1",
    ],
    "file size": ["print()\n" * (rules.FILE_LINES_MAX + 1)],
    "function size": ["def f():\n" + "    print()\n" * rules.FUNCTION_LINES_MAX],
}
EVERY_RULE = rules.PURE_RULES | rules.SOURCE_RULES


@pytest.mark.parametrize(("name", "source"), [(name, source) for name in BAD for source in BAD[name]])
def test_a_rule_bites(name: str, source: str) -> None:
    assert EVERY_RULE[name](source)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_rule_has_an_example_and_lets_good_code_pass(name: str) -> None:
    assert name in BAD
    good = (
        GOOD
        if name in rules.PURE_RULES
        else GOOD.replace("ready =", "READY: Final =").replace("calls =", "CALLS: Final =")
    )
    assert EVERY_RULE[name](good) == []


def test_docstrings_and_tables_do_not_count_as_length() -> None:
    lines = "\n" * rules.FILE_LINES_MAX
    assert rules.long_file(f'"""What must hold.{lines}"""\nTABLE = [{lines}]\n') == []
    assert rules.long_functions(f'def f():\n    """What must hold.{lines}"""\n') == []


@pytest.mark.parametrize(
    "text", ["see /" + "home/ann/x", "file:///" + "work/x", "https://" + HOSTS[0] + "/simple"]
)
def test_an_address_is_seen(text: str) -> None:
    assert ADDRESS.search(text)


@pytest.mark.parametrize("text", ["src/work/x", "tests/home/x", "/healthz", "$/root/x", "docs/opt/a"])
def test_a_relative_path_is_no_address(text: str) -> None:
    assert not ADDRESS.search(text)
