"""No sequence of verbs reaches PASS without its proofs, whatever is done to the files meanwhile.

What proofs are is worked out here once more, from the file's own text, so that a fault in the rules is not judged by itself.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.unit.cli.manifest.working import BUILD, WORDS, Work

FORGED = ("pass", "fail")
Move = Callable[[Work, random.Random], None]


def said(*words: str) -> Move:
    return lambda work, _chance: _say(work, words)


def _say(work: Work, words: tuple[str, ...]) -> None:
    result = work.run(*words)
    assert result.exit_code in (0, 1), (words, result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), (words, result.exception)


def forge(work: Work, chance: random.Random) -> None:
    """A report that somebody wrote: of another step, another session, or one that says something else."""
    report = {
        "schema": "rspp-val-report-v1",
        "session": chance.choice(("greeting", "other")),
        "step": chance.choice(("1", "2", "9")),
        "verdict": chance.choice(FORGED),
        "checks": [{"key": WORDS, "verdict": chance.choice(FORGED)}] * chance.choice((0, 1, 2)),
    }
    work.write("forged.json", json.dumps(report))
    _say(work, ("output", "VAL_REPORT", "--ref", "forged.json"))


def edit_by_hand(work: Work, _chance: random.Random) -> None:
    """Somebody writes PASS into the file; it is found, nothing more can be said, and it is taken back."""
    text = work.file.read_text(encoding="utf-8")
    edited = text.replace('STEP_STATUS: "RUNNING"', 'STEP_STATUS: "PASS"')
    if edited == text or 'STEP_ID: ""' in text:
        return
    work.file.write_text(edited, encoding="utf-8")
    assert work.run("validate").exit_code == 1
    _refused(work, "result", "pass", "--done")
    _refused(work, "step", "begin", "--goal", "g", "--signal", "go")
    work.done("resume", "--restore", "--yes")
    assert work.file.read_text(encoding="utf-8") == text


def _refused(work: Work, *words: str) -> None:
    assert work.run(*words).exit_code == 1, words


def spoil(work: Work, chance: random.Random) -> None:
    """A file that something refers to is changed or lost."""
    proofs = [*work.folder.glob("proof/**/*.*"), *work.folder.glob("*.txt"), *work.folder.glob("*.json")]
    if proofs:
        file = chance.choice(sorted(proofs))
        if chance.random() < 0.5:
            file.unlink()
        else:
            file.write_bytes(file.read_bytes() + b"spoilt")


def make(work: Work, chance: random.Random) -> None:
    work.write("greeting.txt", f"Good morning {chance.random()}\n")
    _say(work, ("output", "GREETING", "--ref", "greeting.txt"))


def next_token(work: Work, _chance: random.Random) -> None:
    token = work.show()["document"]["RESUME"]["RESUME_TOKEN"]
    if token:
        _say(work, ("step", "begin", "--goal", "g", "--token", token))


def diligent(work: Work, chance: random.Random) -> None:
    """What `show` says is to be done next, the blanks filled in."""
    due = next(iter(work.show()["next"]), None)
    if due is None:  # PASS with nothing left to do
        assert work.show()["state"] == "done"
    elif "route" in due:
        _say(work, ROUTE)
    elif "--ref" in due or "--output" in due:
        make(work, chance)
        _say(work, tuple(due.replace("FILE", "greeting.txt").split()[2:]))
    else:
        _say(work, tuple(due.replace("COMMAND", "true").replace("GOAL", "g").split()[2:]))


ROUTE = (
    "route",
    "--role",
    "SPC",
    "--engine",
    BUILD,
    "--validator",
    WORDS,
    "--output",
    "GREETING",
    "--no-go",
    "held/**",
)
MOVES: tuple[tuple[int, Move], ...] = (
    (3, said("step", "begin", "--goal", "g", "--signal", "go")),
    (1, said("step", "begin", "--goal", "g")),
    (1, said("step", "begin", "--goal", "g", "--token", "made-up-token")),
    (1, next_token),
    (4, said(*ROUTE)),
    (4, said("role", "SPC", "--ran")),
    (1, said("role", "SPC", "--skipped")),
    (4, said("engine", BUILD, "--run", "--", "true")),
    (1, said("engine", BUILD, "--run", "--", "false")),
    (1, said("engine", BUILD, "--ran", "--output", "nothing.txt")),
    (1, said("engine", WORDS, "--ran")),
    (4, said("check", WORDS, "--", "true")),
    (1, said("check", WORDS, "--", "false")),
    (4, said("report")),
    (2, forge),
    (4, make),
    (1, said("output", "GREETING")),
    (1, spoil),
    (1, edit_by_hand),
    (4, said("result", "pass", "--done")),
    (2, said("result", "pass", "--next-goal", "more", "--changed", "greeting.txt")),
    (1, said("result", "pass", "--done", "--changed", "held/x")),
    (1, said("result", "fail", "--code", "c", "--requirement", "r")),
    (1, said("result", "stop-gap", "--requirement", "r")),
    (2, said("resume", "--met", "1", "--ref", "greeting.txt")),
)


def ref_holds(folder: Path, ref: str) -> bool:
    path, _, sha256 = ref.partition("#sha256=")
    file = folder / path
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256


def proven(work: Work) -> bool:
    """Whether a PASS in the file has everything that the rules of the file ask for."""
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(work.file.read_text(encoding="utf-8"))
    routing, ledgers = found["ROUTING"], found["LEDGERS"]
    roles = {one["role"]: one["status"] for one in ledgers["ROLE_LEDGER"]}
    engines = {one["eng_key"]: one["status"] for one in ledgers["ENGINE_RUN_LEDGER"]["entries"]}
    outputs = {one["output"]: one for one in ledgers["OUTPUT_LEDGER"]}
    report = outputs.get("VAL_REPORT")
    if report is None or not report["present"]:
        return False
    for name in (*routing["OUTPUT_CONTRACT"], "VAL_REPORT"):
        if name not in outputs or not ref_holds(work.folder, outputs[name]["ref"]):
            return False
    what = json.loads((work.folder / report["ref"].partition("#")[0]).read_text(encoding="utf-8"))
    verdicts = {check["key"]: check["verdict"] for check in what["checks"]}
    return (
        all(roles.get(one) == "ran" for one in routing["REQUIRED_ROLES"])
        and all(
            engines.get(one) == "ran"
            for one in (*routing["REQUIRED_ENG_KEYS"], *routing["REQUIRED_VAL_KEYS"])
        )
        and (what["session"], what["step"])
        == (found["SESSION"]["SESSION_ID"], found["CURRENT_STEP"]["STEP_ID"])
        and what["verdict"] == "pass"
        and all(verdicts.get(one) == "pass" for one in routing["REQUIRED_VAL_KEYS"])
        and not any(one.startswith("held/") for one in found["PATCH_TRACKING"]["LAST_FILES_CHANGED"])
    )


def says_pass(work: Work) -> bool:
    found = YAML(typ="safe", pure=True).load(work.file.read_text(encoding="utf-8"))
    return bool(found["CURRENT_STEP"]["STEP_STATUS"] == "PASS")


def walk(work: Work, seed: int, moves: int) -> int:
    """One walk; how many steps have passed in it."""
    chance = random.Random(seed)
    work.done("init", "--session", "greeting")
    passed, was = 0, False
    choices = chance.choices([move for _, move in MOVES], [weight for weight, _ in MOVES], k=moves)
    for number, move in enumerate(choices):
        # As often somebody does what is due, or no walk would get far.
        (diligent if chance.random() < 0.5 else move)(work, chance)
        now = says_pass(work)
        if now and not was:
            assert proven(work), f"seed {seed}, move {number}: PASS without its proofs"
            assert work.run("validate").exit_code == 0
            passed += 1
        was = now
    return passed


def run_walks(work: Work, seeds: range, moves: int) -> int:
    passed = 0
    top = work.folder
    with pytest.MonkeyPatch.context() as patch:
        for seed in seeds:
            folder = top / str(seed)
            folder.mkdir()
            patch.chdir(folder)
            passed += walk(Work(folder), seed, moves)
    return passed


@pytest.mark.slow
def test_no_walk_over_the_verbs_reaches_pass_without_its_proofs(work: Work) -> None:
    assert run_walks(work, range(1), 30) > 0, "and some walks do reach it"


@pytest.mark.slow
@pytest.mark.long
def test_no_long_walk_does_either(work: Work) -> None:
    assert run_walks(work, range(100, 112), 60) > 2
