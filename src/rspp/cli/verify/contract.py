"""The contract is what it was: no schema breaks its readers, the pages say what the code says, and every pipeline compiles.

A checkout is held to the schemas that were released (`tests/contract/released`, written by `rspp schema export` with a release),
to its reference pages, to a remedy for every code, and to the order of its layers. Its own pipelines and a project's are
linted strictly and compiled; so are a project's layers.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.compose import installed, pipeline_of
from rspp.cli.docs import is_current, place
from rspp.cli.lint import problems_of
from rspp.cli.schema import INDEX
from rspp.cli.verify.engine import Engine, Found, Ground, Outcome
from rspp.cli.verify.ground import is_checkout, layers, pipelines
from rspp.contract import errors
from rspp.contract.codes import CODES
from rspp.contract.codes_of_work import CODES_OF_WORK
from rspp.contract.compat import compare_all
from rspp.contract.errors import RsppError
from rspp.contract.schema import schemas
from rspp.spec.reference import pages

RELEASED: Final = "tests/contract/released"
SUFFIX: Final = ".schema.json"
REFERENCE: Final = "docs/reference"
LAYERS_TIMEOUT_S: Final = 120
OUTPUT_SHOWN: Final = 12
# What takes a code first, by name: a class of the tree, so that a literal code which no table has is found.
RAISED: Final = frozenset(
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RsppError) and kind is not errors.Divergence
)

Check = Callable[[Ground], Iterator[Found]]


def run(ground: Ground) -> Outcome:
    """Every check that has something to look at; all findings of all of them."""
    found: list[Found] = []
    facts: dict[str, Any] = {}
    for name, check in (*(CHECKOUT if is_checkout(ground.folder) else ()), *PROJECT):
        ground.say(name)
        some = list(check(ground))
        facts[name] = len(some)
        found += some
    facts["pipelines"] = len(pipelines(ground.folder))
    facts["layers"] = len(layers(ground.folder))
    looked = ", ".join(name for name in facts if name not in ("pipelines", "layers"))
    counted = f"{_many(facts['pipelines'], 'pipeline')}, {_many(facts['layers'], 'layer')}"
    summary = f"{_many(len(found), 'finding')} in {looked}; {counted}" if found else f"{looked}; {counted}"
    return Outcome(verdict="fail" if found else "pass", summary=summary, found=tuple(found), facts=facts)


def _many(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def applies(ground: Ground) -> bool:
    return is_checkout(ground.folder) or bool(pipelines(ground.folder) or layers(ground.folder))


# ---- a checkout --------------------------------------------------------------------------------------------------


def schemas_kept(ground: Ground) -> Iterator[Found]:
    """No schema of today breaks who reads or writes the released one."""
    home = ground.folder / RELEASED
    released = {path.name.removesuffix(SUFFIX): path for path in sorted(home.glob(f"*{SUFFIX}"))}
    if not released:
        yield Found(
            what="there are no released schemas to compare with: that a change breaks nobody is not proven",
            fix=f"with the next release: rspp schema export {RELEASED}",
            where=RELEASED,
        )
        return
    yield from _whole(home, frozenset(released))
    old: dict[str, dict[str, Any]] = {}
    for name, path in released.items():
        try:
            old[name] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            yield Found(
                what=f"it is no JSON Schema: {error}",
                fix="take the file as it was released",
                where=f"{RELEASED}/{path.name}",
            )
    for name, changes in compare_all(old, dict(schemas())).items():
        for change in changes:
            if change.breaking and name in old:
                yield Found(
                    what=f"a breaking change ({change.rule}): {change.message}",
                    fix="take it back, or raise the major version in the schema's $id and keep reading the old one",
                    where=f"{name}: {change.path or 'the root'}",
                )


def _whole(home: Path, there: frozenset[str]) -> Iterator[Found]:
    """Every schema that the release's index names is there: one that is gone would be compared with nothing."""
    try:
        named = {
            row["name"] for row in msgspec.json.decode((home / INDEX).read_bytes(), type=list[dict[str, str]])
        }
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        what = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        yield Found(what=what, fix="take the file as it was released", where=f"{RELEASED}/{INDEX}")
        return
    for name in sorted(named - there):
        yield Found(
            what="it was released and is gone: nothing is compared with it",
            fix="take the file as it was released",
            where=f"{RELEASED}/{name}{SUFFIX}",
        )


def pages_current(ground: Ground) -> Iterator[Found]:
    """Every reference page is what the code says."""
    out = ground.folder / REFERENCE
    for name, text in sorted(pages().items()):
        path = place(out, name)
        if not is_current(path, text):
            yield Found(
                what="the page is stale: it does not say what the code says",
                fix="rspp docs",
                where=path.relative_to(ground.folder).as_posix(),
            )


def codes_told(ground: Ground) -> Iterator[Found]:
    """Every code has a meaning and a remedy, and every one that is raised is in the table."""
    table = "src/rspp/contract/codes.py"
    for code, rule in CODES.items():
        if not rule.meaning.strip() or not rule.remedy.strip():
            fix = "say in the table what it means and what to do about it"
            where = "src/rspp/contract/codes_of_work.py" if code in CODES_OF_WORK else table
            yield Found(what=f"the code {code} has no meaning or no remedy", fix=fix, where=where)
    for path in sorted((ground.folder / "src/rspp").rglob("*.py")):
        where = path.relative_to(ground.folder).as_posix()
        for line, code in _raised(path.read_text(encoding="utf-8")):
            if code not in CODES:
                yield Found(
                    what=f"the code {code} is raised and is in no table",
                    fix=f"add it to {table} with its meaning and a remedy",
                    where=f"{where}:{line}",
                )


def _raised(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.func, ast.Name):
            continue
        first = node.args[0]
        if node.func.id in RAISED and isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield node.lineno, first.value


def layers_ordered(ground: Ground) -> Iterator[Found]:
    """Imports point down only: asked of import-linter, which a checkout's tool chain has."""
    if find_spec("importlinter") is None:
        yield Found(
            what="import-linter is not installed: the order of the layers was not looked at",
            fix="verify a checkout with its own tool chain: make setup",
            where="pyproject.toml",
        )
        return
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, a fixed program
            [sys.executable, "-P", "-c", program, "--no-cache"],
            cwd=ground.folder,
            capture_output=True,
            text=True,
            timeout=LAYERS_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Found(what=f"import-linter took longer than {LAYERS_TIMEOUT_S} s", fix="run lint-imports")
        return
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        told = [line for line in lines if "->" in line or line.endswith("BROKEN")] or lines[-OUTPUT_SHOWN:]
        yield Found(
            what="an import goes up or sideways: " + "; ".join(told[:OUTPUT_SHOWN]),
            fix="move what is needed into a lower room, or hand it in",
            where="pyproject.toml: tool.importlinter",
        )


# ---- pipelines ---------------------------------------------------------------------------------------------------


def specs_compile(ground: Ground) -> Iterator[Found]:
    """Every pipeline passes the strict lint and compiles, every layer fits one."""
    here = installed()
    for path in pipelines(ground.folder):
        problems = problems_of(path)
        yield from (_of(ground, path, problem) for problem in problems)
        if not problems and pipeline_of(path, here).graph is None:
            where = path.relative_to(ground.folder).as_posix()
            yield Found(what="it does not compile", fix=f"rspp validate {where}", where=where)
    for path in layers(ground.folder):
        yield from (_of(ground, path, problem) for problem in problems_of(path, as_layer=True))


def _of(ground: Ground, path: Path, problem: Any) -> Found:
    where = path.relative_to(ground.folder).as_posix()
    subject = f"{problem.path}: " if problem.path else ""
    return Found(
        what=f"{problem.severity.value} {problem.code}: {subject}{problem.message}",
        fix=problem.hint or f"rspp lint {where}",
        where=f"{where}:{problem.line}:{problem.column}",
    )


CHECKOUT: Final[tuple[tuple[str, Check], ...]] = (
    ("schemas", schemas_kept),
    ("reference pages", pages_current),
    ("codes", codes_told),
    ("import layers", layers_ordered),
)
PROJECT: Final[tuple[tuple[str, Check], ...]] = (("specs", specs_compile),)

ENGINE: Final = Engine(
    key="KEY:ENG.CONTRACT",
    name="contract",
    summary="schemas, reference pages, codes, layers of imports; every pipeline, linted strictly and compiled",
    levels=frozenset({"quick", "full"}),
    fail_code="contract_broken",
    run=run,
    applies=applies,
)
