"""A session of work from its first verb to its last: what each says, and what stands in the file afterwards."""

from __future__ import annotations

import pytest

from rspp.cli.manifest import COMMANDS
from tests.unit.cli.manifest.working import BUILD, CLOCK, WORDS, Work

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def test_a_session_of_two_steps_passes_with_its_proofs(work: Work) -> None:
    work.begin("--role", "SPC", "--output", "GREETING", "--domain", "SYS")
    work.write("greeting.txt", "Good morning\n")
    work.done("role", "SPC", "--ran", "--note", "read aloud", "--output", "greeting.txt")
    work.done("engine", BUILD, "--run", "--", "sh", "-c", "echo built")
    work.done("output", "GREETING", "--ref", "greeting.txt", "--source", "SPC")
    work.done("check", WORDS, "--", "grep", "-n", "Good", "greeting.txt")
    assert "VAL_REPORT says pass" in work.done("report")
    said = work.done(
        "result",
        "pass",
        "--next-goal",
        "It knows the hour",
        "--next-file",
        "greeting.txt",
        "--changed",
        "greeting.txt",
    )
    assert said.splitlines() == [
        "step 1: PASS",
        "next: rspp manifest step begin --goal 'It knows the hour' --signal go",
    ]
    told = work.show()
    assert (told["state"], told["missing"]) == ("waiting", [])
    document = told["document"]
    assert document["LAST_RESULT"]["STATUS"] == "PASS"
    assert document["PATCH_TRACKING"]["LAST_FILES_CHANGED"] == ["greeting.txt"]
    assert document["RESUME"]["RESUME_ALLOWED"] is True
    assert document["RESUME"]["RESUME_TARGET"] == {"FILE": "greeting.txt", "GOAL": "It knows the hour"}
    assert "sound:" in work.done("validate")

    work.done("step", "begin", "--goal", "It knows the hour", "--token", document["RESUME"]["RESUME_TOKEN"])
    assert work.show()["document"]["LEDGERS"]["ROLE_LEDGER"] == []
    work.done("route", "--engine", BUILD, "--validator", WORDS)
    work.prove()
    work.done("result", "pass", "--done")
    assert (work.show()["state"], work.show()["next"]) == ("done", [])
    assert "sound:" in work.done("validate")


def test_after_a_failure_each_requirement_is_met_before_the_next_step(work: Work) -> None:
    work.begin()
    work.done(
        "result", "fail", "--code", "too_rude", "--reason", "it says Oi", "--fix", "say Good morning",
        "--requirement", "it is polite", "--requirement", "the owner has read it",
    )  # fmt: skip
    assert work.show()["next"] == [
        "rspp manifest resume --met 1 --ref FILE",
        "rspp manifest resume --met 2 --ref FILE",
    ]
    work.refused(
        "step", "begin", "--goal", "again", "--signal", "go", says=["manifest_resume_not_allowed", "polite"]
    )
    work.write("proof.txt", "Good morning\n")
    work.done("resume", "--met", "1", "--ref", "proof.txt")
    work.refused("step", "begin", "--goal", "again", "--signal", "go")
    work.done("resume", "--met", "the owner has read it", "--ref", "proof.txt")
    page = work.done("resume")
    assert "[x] 1. it is polite => proof.txt#sha256=" in page
    token = work.show()["document"]["RESUME"]["RESUME_TOKEN"]
    assert f"token: {token}" in page
    work.done(
        "step",
        "begin",
        "--goal",
        "again",
        "--signal",
        "GO",
        "--id",
        "second",
        "--active-file",
        "greeting.txt",
    )
    step = work.show()["document"]["CURRENT_STEP"]
    assert (step["STEP_ID"], step["ACTIVE_FILE"], step["STEP_STATUS"]) == (
        "second",
        "greeting.txt",
        "RUNNING",
    )


def test_a_step_that_lacks_something_stops_and_says_what(work: Work) -> None:
    work.begin()
    work.done(
        "result", "stop-gap", "--requirement", "the owner names the voice", "--reason", "two are possible"
    )
    told = work.show()
    assert told["state"] == "stopped"
    assert told["document"]["LAST_RESULT"]["FAIL_REASONS"] == ["two are possible"]
    page = work.done("show")
    assert "requires  [ ] 1. the owner names the voice" in page
    assert "because   two are possible" in page


def test_the_page_shows_ledgers_what_is_missing_and_the_next_commands(work: Work) -> None:
    work.begin("--role", "QA", "--output", "GREETING", "--no-go", "deploy/**")
    work.done("engine", BUILD, "--failed", "--note", "no compiler")
    page = work.done("show")
    rows = [line.split() for line in page.splitlines()]
    assert ["[", "]", "role", "QA", "missing"] in rows
    assert ["[!]", "engine", BUILD, "failed", "no", "compiler"] in rows
    assert ["[", "]", "validator", WORDS, "missing"] in rows
    assert ["[", "]", "output", "GREETING", "missing"] in rows
    assert "no-go     deploy/**" in page
    assert f"the engine {BUILD} failed" in page
    for command in (
        "rspp manifest role QA --ran --output FILE",
        f"rspp manifest engine {BUILD} --run -- COMMAND",
        f"rspp manifest check {WORDS} -- COMMAND",
        "rspp manifest output GREETING --ref FILE",
        "rspp manifest report",
    ):
        assert f"  {command}" in page.splitlines(), page


def test_what_is_due_names_the_manifest_that_was_meant(work: Work) -> None:
    work.done("init", "--session", "s", "--file", "sub dir/M.yaml")
    said = work.done("step", "begin", "--goal", "g", "--file", "sub dir/M.yaml")
    assert said.splitlines()[-1] == "next: rspp manifest route --from FILE --file 'sub dir/M.yaml'"
    work.done("route", "--engine", "K", "--file", "sub dir/M.yaml")
    due = work.json("show", "--file", "sub dir/M.yaml")["next"]
    assert due[0] == "rspp manifest engine K --run --file 'sub dir/M.yaml' -- COMMAND"


def test_the_environment_names_the_manifest_too(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSPP_MANIFEST", "notes/work.md")
    work.done("init", "--session", "s", "--owner", "TEAM", "--mode", "NOTES")
    text = (work.folder / "notes" / "work.md").read_text(encoding="utf-8")
    assert 'SESSION_ID: "s"' in text
    assert "rspp" not in [one.name for one in work.folder.iterdir()]
    assert work.show()["document"]["SESSION"]["OWNER"] == "TEAM"


def test_a_markdown_manifest_keeps_its_prose_byte_for_byte(work: Work) -> None:
    work.done("init", "--session", "s", "--file", "NOTES.md")
    path = work.folder / "NOTES.md"
    path.write_bytes(
        "# Notes\n\nSome prose, with a tab\t and ünïcode.\n\n".encode()
        + path.read_bytes()
        + b"\nThe end.  \n"
    )
    work.done("step", "begin", "--goal", "g", "--file", "NOTES.md")
    after = path.read_bytes()
    assert after.startswith("# Notes\n\nSome prose, with a tab\t and ünïcode.\n\n".encode())
    assert after.endswith(b"\nThe end.  \n")
    assert work.json("validate", "--file", "NOTES.md")["ok"]


WRITERS: tuple[tuple[str, ...], ...] = (
    ("init", "--session", "s"),
    ("step", "begin", "--goal", "g"),
    ("route", "--engine", BUILD, "--validator", WORDS),
    ("role", "QA", "--ran"),
    ("engine", BUILD, "--run", "--", "true"),
    ("output", "LATER"),
    ("check", WORDS, "--", "true"),
    ("report",),
    ("result", "fail", "--code", "c", "--requirement", "r"),
    ("resume", "--met", "1", "--ref", CLOCK),
)


def test_every_verb_answers_with_the_whole_state_as_json(work: Work) -> None:
    work.write(CLOCK, "the one in the hall")
    for words in WRITERS:
        told = work.json(*words)
        assert set(told) >= {"document", "state", "missing", "next"}, words
        assert told["document"] == work.show()["document"]
    resume = work.json("resume")
    assert set(resume) == {"state", "resume", "next"}
    assert work.json("validate") == {"ok": True, "faults": [], "missing": []}
    lines = work.json("trace")
    assert [line["what"] for line in lines["lines"]] == [
        "init", "step", "route", "role", "engine", "output", "engine", "output", "result", "met",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        *((name,) for name in COMMANDS),
        ("step", "begin"),
        *(("result", one) for one in ("pass", "fail", "stop-gap")),
    ],
)
def test_every_verb_teaches_with_an_example(work: Work, words: tuple[str, ...]) -> None:
    said = work.done(*words, "--help")
    assert f"rspp manifest {' '.join(words)}" in said
    assert "Example" in said
    assert "Exit status: 0 done" in " ".join(said.split())


def test_the_group_names_every_verb(work: Work) -> None:
    said = work.done("--help")
    for name in COMMANDS:
        assert f"\n  {name} " in said
