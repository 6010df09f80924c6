"""What is refused ends with 1, what is said wrongly with 2; each says what to do, and nothing was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.manifest.working import BUILD, CLOCK, WORDS, Work

LONG = "x" * 2_001


def bytes_of(work: Work) -> dict[str, bytes]:
    return {
        str(path.relative_to(work.folder)): path.read_bytes()
        for path in work.folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


SAID_WRONGLY: tuple[tuple[str, ...], ...] = (
    ("init",),
    ("init", "--session", "s", "--owner", "NOBODY"),
    ("step",),
    ("step", "begin"),
    ("step", "begin", "--goal", "g", "--signal", "go", "--token", "t"),
    ("route",),
    ("route", "--from", "not-there.yaml"),
    ("role", "QA"),
    ("role", "QA", "--ran", "--failed"),
    ("role",),
    ("engine", BUILD),
    ("engine", BUILD, "--ran", "--skipped"),
    ("engine", BUILD, "--run"),
    ("engine", BUILD, "--ran", "--run", "--", "true"),
    ("engine", BUILD, "--ran", "--", "true"),
    ("engine", BUILD, "--ran", "--limit", "3"),
    ("check", WORDS),
    ("check",),
    ("output",),
    ("result",),
    ("result", "perfect"),
    ("result", "pass"),
    ("result", "pass", "--done", "--next-goal", "g"),
    ("result", "pass", "--done", "--next-file", "f"),
    ("result", "fail", "--requirement", "r"),
    ("result", "fail", "--code", "c"),
    ("result", "stop-gap"),
    ("resume", "--met", "1"),
    ("resume", "--ref", "RUNTIME_MANIFEST.yaml"),
    ("resume", "--met", "1", "--ref", "f", "--restore"),
    ("resume", "--restore", "--take-over"),
    ("resume", "--yes"),
    ("trace", "--verify", "--follow"),
    ("trace", "--verify", "--limit", "2"),
    ("trace", "--limit", "0"),
    ("show", "--root", "not-there"),
    ("show", "--nonsense"),
    ("role", "QA", "--ran", "--wait", "-1"),
    ("nonsense",),
)


def test_what_is_not_said_in_full_is_wrong_usage_and_writes_nothing(work: Work) -> None:
    work.begin()
    before = bytes_of(work)
    for words in SAID_WRONGLY:
        work.refused(*words, status=2, says=["Usage:"])
        assert bytes_of(work) == before, words


EVERY_VERB = (
    ("show",),
    ("validate",),
    ("trace",),
    ("step", "begin", "--goal", "g"),
    ("route", "--engine", "K"),
    ("role", "QA", "--ran"),
    ("engine", BUILD, "--run", "--", "touch", "ran"),
    ("check", WORDS, "--", "touch", "ran"),
    ("report",),
    ("output", "O"),
    ("result", "pass", "--done"),
    ("resume",),
    ("resume", "--take-over", "--yes"),
    ("resume", "--restore", "--yes"),
)


def test_without_a_manifest_every_verb_says_how_to_begin_one(work: Work) -> None:
    says = ["there is no manifest at RUNTIME_MANIFEST.yaml", "rspp manifest init --session NAME"]
    for words in EVERY_VERB:
        work.refused(*words, says=says)
        assert list(work.folder.iterdir()) == [], words


FORBIDDEN = (
    (("init", "--session", "other"), "manifest_session_there"),
    (("step", "begin", "--goal", "g"), "manifest_step_running"),
    (("route", "--engine", "K"), "manifest_step_routed"),
    (("output", "GREETING", "--ref", "not-there.txt"), "not-there.txt"),
    (("output", "GREETING", "--ref", "../outside.txt"), "outside"),
    (("output", "GREETING", "--ref", "."), ""),
    (("role", "QA", "--ran", "--output", "not-there.txt"), "not-there.txt"),
    (("engine", BUILD, "--ran", "--output", "not-there.txt"), "not-there.txt"),
    (("report",), "manifest_checks_missing"),
    (("resume", "--met", "1", "--ref", CLOCK), "manifest_nothing_required"),
    (("result", "fail", "--code", "c", "--requirement", "7"), "manifest_requirement_invalid"),
    (("result", "fail", "--code", "c", "--requirement", " "), "manifest_requirement_invalid"),
    (("result", "pass", "--next-goal", " "), "manifest_pass_unproven"),
    (("result", "pass", "--done"), "manifest_pass_unproven"),
)


def test_what_the_rules_forbid_is_refused_and_writes_nothing(work: Work) -> None:
    work.write("../outside.txt", "x")
    work.write(CLOCK, "the one in the hall")
    work.begin()
    before = bytes_of(work)
    for words, code in FORBIDDEN:
        work.refused(*words, says=["Error: ", code])
        assert bytes_of(work) == before, words


CLOSED = (
    ("step", "begin", "--goal", "g"),
    ("step", "begin", "--goal", "g", "--signal", "went"),
    ("step", "begin", "--goal", "g", "--token", "wrong"),
    ("step", "begin", "--goal", "g", "--token", "wrong-wrong-wrong"),
    ("step", "begin", "--goal", "g", "--signal", "go", "--id", "1"),
    ("step", "begin", "--goal", " ", "--signal", "go"),
    ("role", "QA", "--ran"),
    ("route", "--engine", "K"),
    ("engine", BUILD, "--run", "--", "touch", "ran"),
    ("check", WORDS, "--", "touch", "ran"),
    ("report",),
    ("output", "O"),
    ("result", "pass", "--done"),
)


def test_between_two_steps_only_the_next_one_can_begin_and_only_when_it_is_opened(work: Work) -> None:
    work.begin()
    work.prove()
    work.done("result", "pass", "--next-goal", "more")
    before = bytes_of(work)
    for words in CLOSED:
        work.refused(*words, says=["Error: "])
        assert bytes_of(work) == before, "and a command whose result nobody could record was not run"


def test_a_token_opens_one_step_once(work: Work) -> None:
    work.begin()
    work.prove()
    work.done("result", "pass", "--next-goal", "more")
    token = work.show()["document"]["RESUME"]["RESUME_TOKEN"]
    work.done("step", "begin", "--goal", "more", "--token", token)
    work.done("result", "fail", "--code", "c", "--requirement", "r")
    work.meet()
    work.refused("step", "begin", "--goal", "g", "--token", token, says=["manifest_token_used"])


def test_whoever_works_may_have_a_name_that_is_no_text(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "b\udcfcrger")
    work.done("init", "--session", "greeting")
    assert [line["by"] for line in work.json("trace")["lines"]] == ["b?rger"]


HOSTILE = ("a\x00b", "a\nb: c", "\x1b[31mred", LONG, "\udcff")


HOSTILE_WORDS = (
    ("init", "--file", "other.yaml", "--session", "{}"),
    ("init", "--file", "other.yaml", "--session", "s", "--mode", "{}"),
    ("role", "{}", "--ran"),
    ("role", "QA", "--ran", "--note", "{}"),
    ("engine", "{}", "--ran"),
    ("engine", BUILD, "--ran", "--note", "{}"),
    ("output", "{}"),
    ("output", "O", "--ref", "{}"),
    ("output", "O", "--source", "{}"),
    ("result", "fail", "--code", "{}", "--requirement", "r"),
    ("result", "fail", "--code", "c", "--requirement", "{}"),
    ("result", "fail", "--code", "c", "--requirement", "r", "--reason", "{}"),
    ("result", "stop-gap", "--requirement", "r", "--patchset", "{}"),
    ("resume", "--met", "{}", "--ref", CLOCK),
    ("show", "--file", "{}"),
)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_refused_as_a_sentence_and_leave_the_manifest_sound(
    work: Work, value: str
) -> None:
    work.begin()
    work.write(CLOCK, "the one in the hall")
    before = work.file.read_bytes()
    for words in HOSTILE_WORDS:
        if "\x00" in value and words[-2] in ("--ref", "--file"):
            continue  # no shell can hand a path with a zero byte over
        result = work.run(*(word.replace("{}", value) for word in words))
        assert result.exit_code in (1, 2), (words, result.output)
        assert isinstance(result.exception, SystemExit), (words, repr(result.exception))
        assert "\x1b" not in result.output, words
        assert work.file.read_bytes() == before
    assert work.json("validate")["ok"]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_words_of_a_run_are_refused_or_kept_out(work: Work, value: str) -> None:
    work.begin()
    for words in (
        ("engine", BUILD, "--run", "--note", "{}", "--", "true"),
        ("engine", "{}", "--run", "--", "true"),
        ("engine", BUILD, "--run", "--", "echo", "{}"),
        ("check", "{}", "--", "true"),
        ("result", "stop-gap", "--requirement", "r", "--changed", "{}"),
    ):
        result = work.run(*(word.replace("{}", value) for word in words))
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            words,
            repr(result.exception),
        )
        assert "Traceback" not in result.output
    assert work.json("validate")["ok"]


def test_a_hostile_goal_and_key_are_shown_written_out(work: Work) -> None:
    work.done("init", "--session", "[red]s[/red]")
    work.done("step", "begin", "--goal", "[bold]x[/bold] $(touch ran) \u202eevil")
    page = work.done("show")
    assert "[red]s[/red]" in page
    assert "[bold]x[/bold] $(touch ran)" in page
    assert "\u202e" not in page


def test_refusals_are_a_document_for_programs(work: Work) -> None:
    work.begin()
    said = work.json("result", "pass", "--done", status=1)["error"]
    assert said["code"] == "manifest_pass_unproven"
    assert {one["code"] for one in said["missing"]} >= {
        "engine_missing",
        "validator_missing",
        "output_missing",
    }
    assert all(one["what"] and one["fix"] for one in said["missing"])


def test_every_missing_thing_is_named_with_what_to_do(work: Work) -> None:
    work.begin("--role", "SPC", "--output", "GREETING")
    said = work.refused("result", "pass", "--done")
    for one in work.show()["missing"]:
        assert f"  {one['what']}\n      {one['fix']}\n" in said
    assert said.count("the engine KEY:ENG.BUILD has no entry") == 1


def test_a_manifest_that_cannot_be_read_is_told_with_line_and_key(work: Work) -> None:
    work.begin()
    text = work.file.read_text(encoding="utf-8")
    work.file.write_text(text.replace('STEP_STATUS: "RUNNING"', 'STEP_STATUS: "RUNING"'), encoding="utf-8")
    line = next(n for n, one in enumerate(text.splitlines(), 1) if "STEP_STATUS" in one)
    for words in (("show",), ("role", "QA", "--ran"), ("validate",)):
        work.refused(
            *words,
            says=[f"RUNTIME_MANIFEST.yaml:{line}:", "CURRENT_STEP.STEP_STATUS", "Did you mean RUNNING?"],
        )
    faults = work.json("validate", status=1)["faults"]
    assert [(one["line"], one["key"]) for one in faults] == [(line, "CURRENT_STEP.STEP_STATUS")]


def test_a_place_that_cannot_be_written_to_is_a_sentence(work: Work) -> None:
    work.write("a-file", "x")
    work.refused("init", "--session", "s", "--file", "a-file/M.yaml", says=["a-file"])


def test_a_root_lets_files_above_the_manifest_be_named(work: Work) -> None:
    work.write("src/app.py", "x")
    (work.folder / "work").mkdir()
    where = ("--file", "work/RUNTIME_MANIFEST.yaml")
    work.done("init", "--session", "s", *where)
    work.done("step", "begin", "--goal", "g", *where)
    work.done("route", "--engine", "K", *where)
    work.refused("output", "APP", "--ref", "src/app.py", *where)
    work.done("output", "APP", "--ref", "src/app.py", *where, "--root", str(Path()))
    ref = work.json("show", *where, "--root", ".")["document"]["LEDGERS"]["OUTPUT_LEDGER"][0]["ref"]
    assert ref.startswith("../src/app.py#sha256=")
