"""The report of validation says what the checks that were run say, and cannot be talked into anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.manifest.working import BUILD, WORDS, Work

pytestmark = pytest.mark.slow  # processes
OTHER = "KEY:VAL.OTHER"


def report(work: Work) -> dict[str, Any]:
    outputs = work.show()["document"]["LEDGERS"]["OUTPUT_LEDGER"]
    ref = next(one["ref"] for one in outputs if one["output"] == "VAL_REPORT")
    found: dict[str, Any] = json.loads((work.folder / ref.partition("#")[0]).read_text(encoding="utf-8"))
    return found


def files(work: Work, pattern: str) -> list[Path]:
    return sorted(work.folder.glob(f"proof/greeting/1/{pattern}"))


def test_it_passes_when_every_check_does(work: Work) -> None:
    work.begin("--validator", OTHER)
    work.done("check", WORDS, "--", "true")
    work.refused("report", says=["manifest_checks_missing", f"rspp manifest check {OTHER} -- COMMAND"])
    work.done("check", OTHER, "--", "true")
    work.done("report")
    found = report(work)
    assert (found["schema"], found["session"], found["step"], found["verdict"]) == (
        "rspp-val-report-v1", "greeting", "1", "pass",
    )  # fmt: skip
    assert [(one["key"], one["verdict"]) for one in found["checks"]] == [(WORDS, "pass"), (OTHER, "pass")]


def test_one_check_that_fails_makes_it_fail_and_says_where_to_look(work: Work) -> None:
    work.begin()
    work.refused("check", WORDS, "--", "sh", "-c", "echo broken; exit 3")
    work.refused("report", says=["VAL_REPORT says fail"])
    (check,) = report(work)["checks"]
    assert (check["verdict"], check["message"][:13]) == ("fail", "exit status 3")
    assert "proof/greeting/1/" in check["fix"]
    work.refused("result", "pass", "--done", says=["VAL_REPORT says fail"])
    assert "rspp manifest report" in work.show()["next"]


def test_checked_again_the_newer_verdict_holds_and_the_older_report_stays(work: Work) -> None:
    work.begin()
    work.done("engine", BUILD, "--run", "--", "true")
    work.refused("check", WORDS, "--", "false")
    work.refused("report")
    work.done("check", WORDS, "--", "true")
    work.refused("result", "pass", "--done", says=["VAL_REPORT says fail"])
    work.done("report")
    assert len(files(work, "VAL_REPORT.*.json")) == 2
    work.done("result", "pass", "--done")


def test_a_check_that_fails_after_the_report_is_heard(work: Work) -> None:
    work.begin()
    work.prove()
    work.refused("check", WORDS, "--", "false")
    work.refused("result", "pass", "--done", says=[f"the validator {WORDS} failed"])


def test_what_was_only_said_to_have_run_is_no_check(work: Work) -> None:
    work.begin()
    work.done("engine", WORDS, "--ran", "--note", "trust me")
    work.refused("report", says=["manifest_checks_missing", WORDS])
    work.done("engine", WORDS, "--run", "--", "true")
    work.refused("report", says=["manifest_checks_missing", WORDS])


def test_a_record_that_was_changed_is_no_check(work: Work) -> None:
    work.begin()
    work.refused("check", WORDS, "--", "false")
    (record,) = files(work, "*.run.json")
    record.write_text(
        record.read_text(encoding="utf-8").replace('"exit_status": 1', '"exit_status": 0'), encoding="utf-8"
    )
    work.refused("report", says=["manifest_checks_missing", WORDS])


def test_words_of_a_validator_that_were_changed_make_its_check_fail(work: Work) -> None:
    work.begin()
    work.done("check", WORDS, "--", "echo", "fine")
    (log,) = files(work, "*.log")
    log.write_text("finer\n", encoding="utf-8")
    work.refused("report", says=["is not what it was"])
    assert f"rspp manifest check {WORDS} -- COMMAND" in report(work)["checks"][0]["fix"]


def test_the_record_of_another_key_or_another_step_proves_nothing(work: Work) -> None:
    work.begin("--validator", OTHER)
    work.done("check", WORDS, "--", "true")
    (record,) = files(work, "*.run.json")
    work.done("engine", OTHER, "--ran", "--output", str(record))
    work.refused("report", says=["manifest_checks_missing", OTHER])
    work.done("result", "fail", "--code", "c", "--requirement", "r")
    work.done("resume", "--met", "1", "--ref", str(record))
    work.done("step", "begin", "--goal", "g", "--signal", "go")
    work.done("route", "--validator", WORDS)
    work.done("engine", WORDS, "--ran", "--output", str(record))
    work.refused("report", says=["manifest_checks_missing", WORDS])


def test_a_word_in_the_ledger_against_a_check_is_heard(work: Work) -> None:
    work.begin()
    work.done("check", WORDS, "--", "true")
    (record,) = files(work, "*.run.json")
    (log,) = files(work, "*.log")
    work.done("engine", WORDS, "--failed", "--output", str(log), "--output", str(record))
    work.refused("report", says=["VAL_REPORT says fail"])


def test_a_report_of_another_tool_is_taken_when_it_is_of_this_step_and_says_pass(work: Work) -> None:
    work.begin()
    work.done("engine", BUILD, "--run", "--", "true")
    work.done("engine", WORDS, "--ran")
    made = {"schema": "rspp-val-report-v1", "session": "greeting", "step": "1", "verdict": "pass"}
    work.write("mine.json", json.dumps({**made, "checks": [{"key": WORDS, "verdict": "pass"}]}))
    work.done("output", "VAL_REPORT", "--ref", "mine.json")
    work.done("result", "pass", "--done")


def test_a_check_says_nothing_about_an_output_that_is_newer(work: Work) -> None:
    work.begin()
    work.write("greeting.txt", "Good morning\n")
    work.done("output", "GREETING", "--ref", "greeting.txt")
    work.done("check", WORDS, "--", "grep", "Good", "greeting.txt")
    work.write("greeting.txt", "Oi\n")
    work.done("output", "GREETING", "--ref", "greeting.txt")
    work.refused(
        "report", says=["manifest_checks_stale", "GREETING", f"rspp manifest check {WORDS} -- COMMAND"]
    )
    work.refused("check", WORDS, "--", "grep", "Good", "greeting.txt")
    work.refused("report", says=["VAL_REPORT says fail"])
