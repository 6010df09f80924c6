"""Each proof that a PASS needs: taken away alone, exactly that is named, and the PASS is refused with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.manifest import updates as u
from rspp.manifest.document import (
    VAL_REPORT,
    Document,
    EngineEntry,
    OutputEntry,
    Ran,
    RoleEntry,
    Routing,
    StepStatus,
    ValCheck,
)
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refs import Ref, read_ref
from rspp.manifest.world import Facts, paths_named, report_path
from tests.unit.manifest.work import NEXT, Work

replace = msgspec.structs.replace
PASS = u.Resulted(status=StepStatus.PASS, target=NEXT)
CHECK = ValCheck(key="KEY:VAL.SCHEMA", verdict="pass")


def lacks(work: Work, *codes: str, update: u.Resulted = PASS, **facts: Any) -> str:
    """PASS is refused with exactly these, in this order; says what is missing, in one text."""
    error = work.refused(update, **facts)
    assert isinstance(error, MisuseError)
    assert error.code == "manifest_pass_unproven"
    assert [one.code for one in error.missing] == list(codes)
    return "; ".join(one.what for one in error.missing)


def ledgers(work: Work, **parts: Any) -> Document:
    return replace(work.document, LEDGERS=replace(work.document.LEDGERS, **parts))


# --- what ran -------------------------------------------------------------------------------------------------------


def test_a_proven_step_lacks_nothing_before_its_pass_and_after_it() -> None:
    work = Work().proven()
    assert work.missing() == ()
    assert work.passed().missing() == ()


def test_without_a_step_there_is_nothing_to_prove() -> None:
    work = Work()
    work.say(u.Begun(session="w"))
    assert work.codes() == ["step_missing"]


@pytest.mark.parametrize("status", [Ran.SKIPPED, Ran.FAILED])
def test_a_required_role_engine_or_validator_that_did_not_run_is_named_with_how(status: Ran) -> None:
    for kind, update in (
        ("role", u.RoleTold(role="QA", status=status)),
        ("engine", u.EngineTold(key="KEY:ENG.LINT", status=status)),
        ("validator", u.EngineTold(key="KEY:VAL.SCHEMA", status=status)),
    ):
        work = Work().proven()
        work.say(update)
        assert kind in lacks(work, f"{kind}_{status}")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("REQUIRED_ROLES", "role_missing"),
        ("REQUIRED_ENG_KEYS", "engine_missing"),
        ("REQUIRED_VAL_KEYS", "validator_missing"),
    ],
)
def test_what_is_required_and_has_no_entry_is_named_each(key: str, code: str) -> None:
    work = Work().begin().route(msgspec.convert({key: ["A", "B", "A"]}, Routing))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.report()
    said = lacks(work, code, code)
    assert "A has no entry" in said
    assert "B has no entry" in said


def test_a_role_is_no_engine_and_an_engine_no_role_of_the_same_name() -> None:
    work = Work().begin().route(Routing(REQUIRED_ROLES=("A",), REQUIRED_ENG_KEYS=("B",)))
    work.say(u.RoleTold(role="B", status=Ran.RAN))
    work.say(u.EngineTold(key="A", status=Ran.RAN))
    lacks(work.report(), "role_missing", "engine_missing")


def test_what_ran_in_the_step_before_proves_nothing_in_this_one() -> None:
    work = Work().proven().passed().begin().route()
    lacks(
        work,
        *("role_missing", "role_missing", "engine_missing", "validator_missing", "nothing_ran"),
        *("output_missing", "output_missing"),
    )


def test_a_step_that_was_not_routed_does_not_pass() -> None:
    lacks(Work().begin(), "route_missing", "nothing_ran", "output_missing")


def test_a_step_whose_routing_asks_for_nothing_still_needs_something_that_ran_and_a_report() -> None:
    work = Work().begin().route(Routing())
    lacks(work, "nothing_ran", "output_missing")
    lacks(work.report(), "nothing_ran")
    work.say(u.RoleTold(role="SPC", status=Ran.SKIPPED))
    work.say(u.EngineTold(key="E", status=Ran.FAILED))
    lacks(work, "nothing_ran")
    work.say(u.EngineTold(key="E", status=Ran.RAN))
    assert work.missing() == ()
    lacks(work.report(checks=()), "report_empty")


def test_what_is_only_read_is_no_proof() -> None:
    work = Work().begin().route(Routing(REQUIRED_IDX=("IDX",), REQUIRED_KB_KEYS=("KB",)))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    assert work.report().missing() == ()


# --- outputs --------------------------------------------------------------------------------------------------------


def test_a_promised_output_without_an_entry_or_not_there_is_named() -> None:
    work = Work().begin().route(Routing(OUTPUT_CONTRACT=("A", "B")))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.say(u.OutputTold(output="A"))
    said = lacks(work.report(), "output_absent", "output_missing")
    assert "A is not there yet" in said
    assert "B has no entry" in said


def test_a_report_is_due_also_where_the_contract_does_not_ask_for_it() -> None:
    work = Work().begin().route(Routing(OUTPUT_CONTRACT=("PLAN",)))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.say(u.OutputTold(output="PLAN", ref=work.ref("plan.json")))
    lacks(work, "output_missing")
    work.say(u.OutputTold(output=VAL_REPORT))
    lacks(work, "output_absent")


def test_an_output_whose_file_is_gone_or_changed_is_named_also_after_the_pass() -> None:
    work = Work().proven()
    work.files["plan.json"] = b"another plan"
    assert "not what it was" in lacks(work, "ref_differs")
    del work.files["plan.json"]
    assert "plan.json, which is not there" in lacks(work, "ref_unresolved")
    work = Work().proven().passed()
    del work.files["plan.json"]
    assert work.codes() == ["ref_unresolved"]


def test_an_output_that_nobody_asked_for_is_no_lie_either() -> None:
    work = Work().proven()
    work.files["more"] = b"more"
    work.say(u.OutputTold(output="MORE", ref=work.ref("more")))
    work.say(u.OutputTold(output="PERHAPS"))
    assert work.missing() == ()
    del work.files["more"]
    lacks(work, "ref_unresolved")


def test_a_file_that_nobody_looked_at_does_not_resolve() -> None:
    work = Work().proven()
    assert work.codes(files={}) == ["ref_unresolved", "ref_unresolved"]


@pytest.mark.parametrize(
    "ref",
    [
        "plan.json",
        "",
        "#sha256=" + "0" * 64,
        "plan.json#sha256=" + "0" * 63,
        "plan.json#sha256=" + "0" * 65,
        "plan.json#sha256=" + "A" * 64,
        "plan.json#md5=" + "0" * 64,
        "plan.json#sha256=" + "0" * 64 + "\n",
        " plan.json#sha256=" + "0" * 64,
        "a\nb#sha256=" + "0" * 64,
    ],
)
def test_a_reference_without_what_its_file_was_proves_nothing(ref: str) -> None:
    assert read_ref(ref) is None
    work = Work().proven()
    entry = OutputEntry(output="PLAN", present=True, ref=ref)
    others = tuple(one for one in work.document.LEDGERS.OUTPUT_LEDGER if one.output != "PLAN")
    document = ledgers(work, OUTPUT_LEDGER=(entry, *others))
    facts = work.facts(traced=document)
    found = missing_for_pass(document, facts)
    assert [one.code for one in found] == ["ref_invalid"]
    assert f"PLAN names {ref or 'no file'}, without" in found[0].what


def test_a_reference_reads_back_as_it_was_written() -> None:
    sha256 = "0" * 64
    for path in ("a", "ä b/ц.json", "x#sha256=" + "1" * 64, "../up", "a => b"):
        ref = Ref(path=path, sha256=sha256)
        assert read_ref(str(ref)) == ref


def test_what_ran_names_only_what_is_there() -> None:
    work = Work().proven()
    work.files["log"] = b"log"
    work.say(u.EngineTold(key="KEY:ENG.LINT", status=Ran.RAN, outputs=("PLAN", work.ref("log"))))
    assert work.missing() == ()
    work.files["log"] = b"another"
    assert "engine KEY:ENG.LINT names log" in lacks(work, "ref_differs")
    work.files["log"] = b"log"
    work.say(u.RoleTold(role="QA", status=Ran.RAN, outputs=("NOWHERE", "plan.json")))
    lacks(work, "claim_unproven", "claim_unproven")
    work.say(u.RoleTold(role="QA", status=Ran.RAN))
    work.say(u.RoleTold(role="EXTRA", status=Ran.FAILED, outputs=("NOWHERE",)))
    assert work.missing() == ()


def test_what_ran_and_names_an_output_that_is_not_there_yet_is_no_proof() -> None:
    work = Work().proven()
    work.say(u.OutputTold(output="LATER"))
    work.say(u.RoleTold(role="QA", status=Ran.RAN, outputs=("LATER",)))
    lacks(work, "claim_unproven")


def test_all_files_that_must_be_looked_at_are_named_once() -> None:
    work = Work().proven()
    work.files["log"] = b"log"
    update = u.RoleTold(role="QA", status=Ran.RAN, outputs=("PLAN", work.ref("log"), work.ref("plan.json")))
    assert paths_named(work.document, update) == ("plan.json", "val.json", "log")
    work.say(update)
    assert set(paths_named(work.document)) == {"plan.json", "val.json", "log"}
    assert report_path(work.document) == "val.json"
    failed = Work().begin().fell()
    met = u.RequirementMet(requirement="1", ref=failed.ref("plan.json"))
    assert paths_named(failed.document, met) == ("plan.json",)
    failed.say(met)
    assert paths_named(failed.document) == ("plan.json",)
    assert report_path(failed.document) == ""


# --- the report of validation ---------------------------------------------------------------------------------------


def reported(data: bytes) -> Work:
    work = Work().proven()
    work.files["val.json"] = data
    work.say(u.OutputTold(output=VAL_REPORT, ref=work.ref("val.json")))
    return work


GOOD = (
    b'{"session":"work-1","step":"1","verdict":"pass","checks":[{"key":"KEY:VAL.SCHEMA","verdict":"pass"}]}'
)


def test_a_report_that_anybody_wrote_by_the_book_is_good() -> None:
    assert reported(GOOD).missing() == ()
    assert reported(GOOD.replace(b'"pass","checks"', b'"pass","tool":"mine","checks"')).missing() == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"pass",
        b"{}",
        b"[]",
        GOOD[:-1],
        GOOD + b"x",
        GOOD.replace(b'"1"', b"1"),
        GOOD.replace(b'"pass","checks"', b'"fail","verdict":"pass","checks"'),
        GOOD.replace(b'"verdict":"pass","checks"', b'"verdict":"PASS","checks"'),
        GOOD.replace(b'"verdict":"pass"}', b'"verdict":"ok"}'),
        GOOD.replace(b'"checks"', b'"schema":"rspp-val-report-v2","checks"'),
        GOOD.replace(b"work-1", b"work-\xff"),
        b"[" * 100_000,
        GOOD + b" " * 2_000_000,
    ],
)
def test_a_report_that_cannot_be_read_proves_nothing(data: bytes) -> None:
    work = reported(data)
    assert work.codes()[0] == "report_unreadable"
    lacks(work, *work.codes())


def test_bytes_that_are_not_the_ones_on_record_are_no_report() -> None:
    work = Work().proven()
    lacks(work, "report_unreadable", report=None)
    lacks(work, "report_unreadable", report=GOOD + b" ")


def test_a_report_of_another_step_or_session_proves_nothing_here() -> None:
    assert "step 2, not of 1" in lacks(Work().proven().report(step="2"), "report_other_step")
    assert "session work-2" in lacks(Work().proven().report(session="work-2"), "report_other_session")
    work = Work().proven().passed().begin().route().prove()
    work.say(u.OutputTold(output=VAL_REPORT, ref=work.ref("val.json")))
    assert work.missing() == ()
    lacks(work.report(step="1"), "report_other_step")


def test_a_report_of_another_run_proves_nothing_and_one_that_names_none_does() -> None:
    work = Work().proven()
    run = work.document.LEDGERS.ENGINE_RUN_LEDGER.run_id
    assert run
    assert work.report(run=run).codes() == []
    assert work.report(run="").codes() == []
    assert work.report(run="run-0").codes() == ["report_other_run"]
    assert "run-0" in work.missing()[0].what


def test_a_report_that_says_fail_proves_nothing_and_its_checks_are_named() -> None:
    other = ValCheck(key="OTHER", verdict="fail")
    said = lacks(Work().proven().report(verdict="fail", checks=(CHECK, other)), "report_fails")
    assert "says fail: OTHER" in said
    assert "no check says why" in lacks(Work().proven().report(verdict="fail"), "report_fails")


def test_a_report_that_says_pass_against_its_own_checks_contradicts_itself() -> None:
    other = ValCheck(key="OTHER", verdict="fail")
    lacks(Work().proven().report(checks=(CHECK, other)), "report_contradicts")
    lacks(Work().proven().report(checks=(CHECK, CHECK)), "report_contradicts")
    both = (CHECK, ValCheck(key=CHECK.key, verdict="skipped"))
    lacks(Work().proven().report(checks=both), "report_contradicts", "check_not_passed")


def test_a_report_in_which_nothing_was_checked_proves_nothing() -> None:
    lacks(Work().proven().report(checks=()), "report_empty", "check_missing")
    skipped = ValCheck(key="KEY:VAL.SCHEMA", verdict="skipped")
    assert "was skipped" in lacks(
        Work().proven().report(checks=(skipped,)), "report_empty", "check_not_passed"
    )


def test_each_required_validator_is_among_the_checks_and_passed() -> None:
    other = ValCheck(key="OTHER", verdict="pass")
    lacks(Work().proven().report(checks=(other,)), "check_missing")
    skipped = ValCheck(key="KEY:VAL.SCHEMA", verdict="skipped")
    lacks(Work().proven().report(checks=(other, skipped)), "check_not_passed")
    failed = ValCheck(key="KEY:VAL.SCHEMA", verdict="fail")
    said = lacks(Work().proven().report(checks=(other, failed)), "report_contradicts", "check_not_passed")
    assert "the check KEY:VAL.SCHEMA did not pass" in said


# --- what must not be touched ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "secrets/b.txt",
        "./secrets//b.txt",
        "x/../secrets/b.txt",
        "SECRETS/B.TXT",
        "secrets\\b.txt",
        "deep/down/mine.KEY",
        "secrets",
        ".",
    ],
)
def test_a_changed_file_that_is_forbidden_is_named_however_it_is_written(path: str) -> None:
    assert "NO_GO_LIST forbids" in lacks(
        Work().proven(), "no_go_changed", update=replace(PASS, changed=("fine.py", path))
    )


def test_a_changed_file_is_known_by_what_it_is_called_really() -> None:
    update = replace(PASS, changed=("link/b.txt",))
    work = Work().proven()
    work.say(update, names={"link/b.txt": ("link/b.txt", "fine/b.txt")})
    lacks(Work().proven(), "no_go_changed", update=update, names={"link/b.txt": ("../x", "secrets/b.txt")})


def test_a_folder_with_something_forbidden_in_it_was_not_to_be_changed() -> None:
    work = Work()
    work.files["app/mine.key"] = b"key"
    said = lacks(work.proven(), "no_go_changed", update=replace(PASS, changed=("app",)))
    assert "NO_GO_LIST forbids app/mine.key" in said
    said = lacks(work, "no_go_changed", update=replace(PASS, changed=("new.key",)))
    assert "NO_GO_LIST forbids *.key" in said
    lacks(work, "no_go_changed", update=replace(PASS, changed=("a",)), names={"a": ("./app/",)})


def test_what_was_touched_without_a_word_is_named_with_what_became_of_it() -> None:
    work = Work().proven()
    work.files["secrets/a.txt"] = b"changed"
    assert "secrets/a.txt is not what it was" in lacks(work, "no_go_touched")
    del work.files["secrets/a.txt"]
    assert "secrets/a.txt is gone" in lacks(work, "no_go_touched")
    work.files["secrets/a.txt"] = b"a secret"
    work.files["new.key"] = b"x"
    assert "new.key appeared" in lacks(work, "no_go_touched")
    del work.files["new.key"]
    work.files["free.txt"] = b"nobody minds"
    assert work.missing() == ()


def test_files_of_the_step_before_are_not_held_against_this_one() -> None:
    work = Work().begin().route(Routing(NO_GO_LIST=("a.py",)))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.report().fell(changed=("b.py",))
    assert work.codes() == []
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    work.begin().route(Routing(NO_GO_LIST=("b.py",)))
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.report()
    assert work.missing() == ()
    work.passed()
    patch = replace(work.document.PATCH_TRACKING, LAST_FILES_CHANGED=("b.py",))
    work.document = work.traced = replace(work.document, PATCH_TRACKING=patch)
    assert work.codes() == ["no_go_changed"]


# --- by hand --------------------------------------------------------------------------------------------------------


def test_a_broken_trace_proves_nothing_and_every_fault_is_told() -> None:
    said = lacks(
        Work().proven(), "trace_broken", "trace_broken", trace_faults=("line 3 is torn", "line 4 is not")
    )
    assert "line 3 is torn" in said
    assert "line 4 is not" in said


def test_without_a_trace_nothing_is_proven() -> None:
    lacks(Work().proven(), "trace_missing", traced=None)


def test_a_pass_that_was_written_by_hand_lacks_the_same_as_one_that_is_said() -> None:
    work = Work().begin().route()
    said = [one.code for one in work.refused(PASS).missing]
    told = Work().proven().passed().document
    by_hand = replace(
        work.document,
        CURRENT_STEP=replace(work.document.CURRENT_STEP, STEP_STATUS=StepStatus.PASS),
        LAST_RESULT=told.LAST_RESULT,
        RESUME=told.RESUME,
    )
    found = missing_for_pass(by_hand, work.facts())
    codes = [one.code for one in found]
    assert [one for one in codes if one != "hand_written"] == said
    assert [one.what.split()[0] for one in found if one.code == "hand_written"] == [
        "CURRENT_STEP",
        "LAST_RESULT",
        "RESUME",
    ]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"ROLE_LEDGER": (RoleEntry(role="QA", status=Ran.RAN),)}, "role QA"),
        ({"OUTPUT_LEDGER": (OutputEntry(output="PLAN"),)}, "output PLAN"),
    ],
)
def test_an_entry_that_the_trace_does_not_know_is_named(parts: dict[str, Any], name: str) -> None:
    work = Work().begin().route()
    work.document = ledgers(work, **parts)
    found = [one.what for one in work.missing() if one.code == "hand_written"]
    assert found == [f"the trace does not know what {name} says"]


def test_an_entry_that_was_changed_or_taken_away_by_hand_is_named() -> None:
    work = Work().proven()
    work.say(u.EngineTold(key="KEY:ENG.LINT", status=Ran.FAILED))
    runs = work.document.LEDGERS.ENGINE_RUN_LEDGER
    better = EngineEntry(eng_key="KEY:ENG.LINT", status=Ran.RAN)
    work.document = ledgers(work, ENGINE_RUN_LEDGER=replace(runs, entries=(better, runs.entries[1])))
    assert "engine KEY:ENG.LINT says" in lacks(work, "hand_written")
    work = Work().proven()
    work.say(u.RoleTold(role="EXTRA", status=Ran.FAILED))
    work.document = ledgers(work, ROLE_LEDGER=work.document.LEDGERS.ROLE_LEDGER[:-1])
    assert "role EXTRA, which is gone" in lacks(work, "hand_written")


def test_entries_in_another_order_or_twice_were_written_by_hand() -> None:
    work = Work().proven()
    roles = work.document.LEDGERS.ROLE_LEDGER
    for other in (roles[::-1], (*roles, roles[-1])):
        found = missing_for_pass(ledgers(work, ROLE_LEDGER=other), work.facts())
        assert [one.code for one in found] == ["hand_written"]


def test_runs_of_another_name_and_easier_routing_were_written_by_hand() -> None:
    work = Work().proven()
    runs = replace(work.document.LEDGERS.ENGINE_RUN_LEDGER, run_id="run-x")
    work.document = ledgers(work, ENGINE_RUN_LEDGER=runs)
    assert "another run_id" in lacks(work, "hand_written")
    work = Work().begin().route().report()
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))
    work.document = replace(work.document, ROUTING=Routing())
    assert "ROUTING says" in lacks(work, "hand_written", "no_go_touched")


def test_nothing_is_known_where_nothing_was_gathered() -> None:
    work = Work().proven()
    codes = [one.code for one in missing_for_pass(work.document, Facts(today="2026-03-04"))]
    assert codes == ["trace_missing", "ref_unresolved", "ref_unresolved"]
