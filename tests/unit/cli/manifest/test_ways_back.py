"""What went wrong is found, told with its place, and mended: hand edits, broken traces, locks of other hosts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.manifest.working import BUILD, Work


def edited(work: Work, old: str, new: str) -> str:
    """The manifest with this edit by hand; what it said before."""
    text = work.file.read_text(encoding="utf-8")
    assert old in text
    work.file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text


def lines_of(work: Work) -> list[str]:
    return (work.folder / "TRACE").read_text(encoding="utf-8").splitlines()


PASS_BY_HAND = (
    ('STEP_STATUS: "RUNNING"', 'STEP_STATUS: "PASS"'),
    ('  STATUS: "NONE"', '  STATUS: "PASS"'),
)


def test_a_pass_written_by_hand_fails_and_names_all_that_is_missing(work: Work) -> None:
    work.begin("--output", "GREETING")
    for old, new in PASS_BY_HAND:
        edited(work, old, new)
    told = work.json("validate", status=1)
    assert not told["ok"]
    assert {"CURRENT_STEP", "LAST_RESULT"} <= {
        one["key"] for one in told["faults"] if one["code"] == "manifest_hand_written"
    }
    refused = work.json("result", "pass", "--done", status=1)["error"]
    wanted = {"engine_missing", "validator_missing", "output_missing"}
    assert wanted <= {one["code"] for one in told["missing"]}
    if refused["code"] == "manifest_pass_unproven":
        assert {one["what"] for one in refused["missing"]} <= {one["what"] for one in told["missing"]}
    page = work.refused("validate")
    assert f"the engine {BUILD} has no entry" in page
    assert "RUNTIME_MANIFEST.yaml:" in page


def test_a_pass_whose_proof_is_lost_later_is_no_longer_backed(work: Work) -> None:
    work.begin()
    work.prove()
    work.done("result", "pass", "--done")
    (report,) = work.folder.glob("proof/greeting/1/VAL_REPORT.*.json")
    report.unlink()
    said = work.refused("validate", says=["PASS is not backed:", "VAL_REPORT"])
    assert "is not there" in said
    assert said.splitlines()[-1].startswith("0 faults, ")


def test_a_hand_edit_is_refused_shown_and_taken_back_and_comments_stay(work: Work) -> None:
    work.begin()
    text = work.file.read_text(encoding="utf-8")
    commented = text.replace("LEDGERS:", "# what was really done\nLEDGERS:", 1)
    work.file.write_text(commented, encoding="utf-8")
    assert work.json("validate")["ok"], "a comment says nothing"
    edited(work, 'STEP_GOAL: "It is polite"', 'STEP_GOAL: "It is rude"')
    work.refused("role", "QA", "--ran", says=["manifest_hand_written", "rspp manifest resume --restore"])
    asked = work.refused("resume", "--restore", status=2, says=["Nobody can be asked here: say --yes"])
    assert '-  STEP_GOAL: "It is rude"' in asked
    assert '+  STEP_GOAL: "It is polite"' in asked
    assert "It is rude" in work.file.read_text(encoding="utf-8"), "asking changes nothing"
    told = work.json("resume", "--restore", "--yes")
    assert told["restored"] is True
    assert "It is rude" in told["difference"]
    assert work.file.read_text(encoding="utf-8") == commented
    work.done("role", "QA", "--ran")


def test_with_nothing_to_take_back_it_says_so(work: Work) -> None:
    work.begin()
    before = work.file.read_bytes()
    assert "nothing to take back" in work.done("resume", "--restore")
    assert work.file.read_bytes() == before


def test_a_manifest_that_is_gone_or_no_longer_yaml_comes_back_from_its_trace(work: Work) -> None:
    work.begin()
    document = work.show()["document"]
    work.file.unlink()
    work.refused("show", says=["rspp manifest resume --restore"])
    work.refused("role", "QA", "--ran", says=["rspp manifest resume --restore"])
    work.done("resume", "--restore", "--yes")
    assert work.show()["document"] == document
    work.file.write_text("SESSION: [\n", encoding="utf-8")
    work.refused("validate", says=["RUNTIME_MANIFEST.yaml:"])
    work.done("resume", "--restore", "--yes")
    assert work.show()["document"] == document


def test_a_line_of_the_trace_that_was_changed_is_named_and_nothing_more_can_be_said(work: Work) -> None:
    work.begin()
    work.done("role", "QA", "--failed")
    lines = lines_of(work)
    lines[3] = lines[3].replace('"failed"', '"ran"')
    work.write("TRACE", "".join(f"{line}\n" for line in lines))
    for words in (("trace", "--verify"), ("validate",)):
        work.refused(*words, says=["TRACE:4:", "sum differs"])
    assert work.json("trace", "--verify", status=1)["faults"][0]["line"] == 4
    work.refused("role", "SPC", "--ran", says=["manifest_trace_broken"])
    work.refused("resume", "--restore", "--yes", says=["trace"])


@pytest.mark.parametrize("what", ["taken out", "swapped", "put in"])
def test_a_line_that_was_taken_out_moved_or_put_in_breaks_the_chain(work: Work, what: str) -> None:
    work.begin()
    work.done("role", "QA", "--ran")
    lines = lines_of(work)
    if what == "taken out":
        del lines[2]
    elif what == "swapped":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines.insert(2, lines[2])
    work.write("TRACE", "".join(f"{line}\n" for line in lines))
    work.refused("trace", "--verify", says=["TRACE:"])


def test_a_torn_last_line_is_told_with_its_number_and_the_next_writer_cuts_it(work: Work) -> None:
    work.begin()
    trace = work.folder / "TRACE"
    whole = trace.read_bytes()
    trace.write_bytes(whole + b'{"n":4,"at":"20')
    work.refused("trace", "--verify", says=["line 4 is torn: 15 bytes"])
    work.refused("validate", says=["line 4 is torn: 15 bytes"])
    assert work.json("trace")["count"] == 3
    work.done("role", "QA", "--ran")
    work.done("trace", "--verify")
    assert json.loads(lines_of(work)[3])["seen"]["cut"]["bytes"] == 15


def test_the_trace_shows_who_said_what_and_when_with_digests(work: Work) -> None:
    work.begin()
    work.done("role", "QA", "--ran")
    said = work.done("trace")
    lines = work.json("trace")["lines"]
    assert [line["n"] for line in lines] == [1, 2, 3, 4]
    assert [one["prev"] == "" for one in lines] == [True, False, False, False]
    for line in lines[1:]:
        assert said.count(line["prev"][:12]) == 2, "a line's digest, and again in the line after it"
    row = next(one for one in said.splitlines() if " role " in one)
    assert "QA ran" in row
    assert lines[3]["by"] in row
    assert "LEDGERS" in row
    newest = work.json("trace", "--limit", "2")
    assert ([line["n"] for line in newest["lines"]], newest["count"]) == ([3, 4], 4)
    assert "4 lines, each bound to the one before" in work.done("trace", "--verify")


def test_following_shows_what_comes(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.begin()
    rounds: list[float] = []

    def wait(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            work.done("role", "QA", "--ran")
        if len(rounds) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("rspp.cli.manifest.trace.time.sleep", wait)
    said = work.done("trace", "--follow", "--json").splitlines()
    assert [json.loads(line)["n"] for line in said] == [1, 2, 3, 4]
    assert len(rounds) == 4


def test_a_lock_of_another_host_is_taken_over_only_when_somebody_says_so(work: Work) -> None:
    work.begin()
    left = {
        "name": "eve", "host": "another-host", "pid": 4, "started": "1", "since_ms": 1, "purpose": "to say result",
    }  # fmt: skip
    work.write("RUNTIME_MANIFEST.lock", json.dumps(left))
    said = work.refused("role", "QA", "--ran", says=["manifest_lock_foreign", "eve", "another-host", "days"])
    assert "--take-over" in said
    work.refused("resume", "--take-over", status=2, says=["say --yes"])
    work.refused("role", "QA", "--ran")
    work.done("resume", "--take-over", "--yes")
    work.done("role", "QA", "--ran")


@pytest.mark.parametrize(
    "content", [b"{", b"\x00" * 100, b"null", b'{"name": 3}', b"\xff\xfe", b'{"name":"\\u001b[31m"}']
)
def test_a_lock_that_holds_anything_at_all_stops_nobody(work: Work, content: bytes) -> None:
    work.begin()
    (work.folder / "RUNTIME_MANIFEST.lock").write_bytes(content)
    work.done("role", "QA", "--ran")


def test_two_manifests_in_one_folder_do_not_meet(work: Work) -> None:
    for name in ("a.yaml", "b.yaml"):
        work.done("init", "--session", "s", "--file", name)
        work.done("step", "begin", "--goal", name, "--file", name)
        work.done("route", "--engine", "K", "--file", name)
        work.done("engine", "K", "--run", "--file", name, "--", "echo", name)
    for name in ("a.yaml", "b.yaml"):
        found = work.json("show", "--file", name)["document"]
        assert found["CURRENT_STEP"]["STEP_GOAL"] == name
        ref = found["LEDGERS"]["ENGINE_RUN_LEDGER"]["entries"][0]["outputs_produced"][0]
        assert Path(ref.partition("#")[0]).read_text(encoding="utf-8") == f"{name}\n"
        assert work.json("validate", "--file", name)["ok"]


@pytest.mark.parametrize("how", ["gone", "emptied"])
def test_a_trace_without_a_line_proves_nothing_and_restores_nothing(work: Work, how: str) -> None:
    work.begin()
    trace = work.folder / "TRACE"
    if how == "gone":
        trace.unlink()
    else:
        trace.write_bytes(b"")
    work.refused("trace", "--verify", says=["no line of a trace", "from a copy"])
    told = work.json("trace", "--verify", status=1)
    assert (told["ok"], [one["code"] for one in told["faults"]]) == (False, ["manifest_trace_missing"])
    before = work.file.read_bytes()
    said = work.refused("resume", "--restore", "--yes", says=["from a copy"])
    assert "---" not in said, "nothing is shown that will not be done"
    assert work.file.read_bytes() == before


def test_what_is_shown_of_an_edited_manifest_is_said_not_to_be_believed(work: Work) -> None:
    work.begin()
    assert "believed" not in work.done("show")
    assert work.show()["sound"]
    edited(work, "It is polite", "It is rude")
    assert "not to be believed" in work.done("show")
    assert not work.show()["sound"]
    work.done("resume", "--restore", "--yes")
    work.prove()
    work.done("result", "pass", "--done")
    assert work.show()["sound"]
    (report,) = work.folder.glob("proof/greeting/1/VAL_REPORT.*.json")
    report.unlink()
    assert "not to be believed" in work.done("show")
