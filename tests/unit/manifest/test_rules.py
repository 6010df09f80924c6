"""What may be said to a manifest, and when; each refusal leaves everything as it was and says what to do."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import InvariantBreach
from rspp.manifest import rules
from rspp.manifest import updates as u
from rspp.manifest.combinations import Impossible, impossible
from rspp.manifest.document import (
    CurrentStep,
    Document,
    Ledgers,
    Owner,
    Ran,
    Resume,
    Routing,
    Session,
    StepStatus,
)
from rspp.manifest.rules import decide, state_of
from rspp.manifest.tokens import bind, wrong_with
from tests.unit.manifest.work import NEXT, ROUTING, Work

PASS, FAIL, STOP_GAP = StepStatus.PASS, StepStatus.FAIL, StepStatus.STOP_GAP
replace = msgspec.structs.replace


def refused(work: Work, update: u.Update, code: str, **facts: Any) -> str:
    """The sentence of a refusal, whose code is in the table of codes."""
    error = work.refused(update, **facts)
    assert error.code == code
    assert code in CODES
    return error.message


def ended(status: StepStatus, **how: Any) -> u.Resulted:
    return u.Resulted(status=status, **how)


# --- a session ------------------------------------------------------------------------------------------------------


def test_a_session_begins_in_a_blank_manifest_and_is_dated() -> None:
    work = Work()
    work.say(u.Begun(session="release-1", owner=Owner.TEAM, mode="CI"))
    session = Session(
        SESSION_ID="release-1", STARTED_AT="2026-03-04", UPDATED_AT="2026-03-04", OWNER=Owner.TEAM, MODE="CI"
    )
    assert work.document == Document(SESSION=session)
    assert state_of(work.document) == "blank"


def test_a_second_session_in_the_same_manifest_is_refused_and_names_the_first() -> None:
    assert "work-1" in refused(Work().begin(), u.Begun(session="work-2"), "manifest_session_there")


def test_a_session_without_a_name_is_refused() -> None:
    refused(Work(), u.Begun(session=""), "value_invalid")


def test_a_blank_file_beside_a_trace_that_knows_a_session_was_emptied_by_hand() -> None:
    work = Work().begin()
    work.document = Document()
    refused(work, u.Begun(session="work-2"), "manifest_hand_written")


def test_a_session_is_not_begun_on_a_broken_trace() -> None:
    refused(Work(), u.Begun(session="w"), "manifest_trace_broken", trace_faults=("line 3 is torn",))


def test_a_step_without_a_session_is_refused() -> None:
    work = Work()
    work.traced = Document()
    refused(work, u.StepBegun(goal="x"), "manifest_session_missing")


def test_every_update_dates_the_session_and_a_clock_set_back_takes_nothing_back() -> None:
    work = Work().begin()
    update = u.Routed(routing=ROUTING)
    later = decide(work.document, update, work.facts(today="2026-03-09"))
    assert later.document.SESSION.UPDATED_AT == "2026-03-09"
    assert later.wrote == ("SESSION", "ROUTING", "LEDGERS")
    earlier = decide(work.document, update, work.facts(today="2026-03-01")).document
    assert (earlier.SESSION.STARTED_AT, earlier.SESSION.UPDATED_AT) == ("2026-03-04", "2026-03-04")


# --- a step begins --------------------------------------------------------------------------------------------------


def test_the_first_step_needs_neither_signal_nor_token() -> None:
    work = Work().begin(signal="", folder="flows", file="flows/a.yaml")
    assert (
        CurrentStep(STEP_ID="1", STEP_GOAL="do it", ACTIVE_FOLDER="flows", ACTIVE_FILE="flows/a.yaml")
        == work.document.CURRENT_STEP
    )
    assert state_of(work.document) == "running"


def test_a_step_without_a_goal_is_refused() -> None:
    work = Work()
    work.say(u.Begun(session="w"))
    refused(work, u.StepBegun(goal=" "), "value_invalid")


def test_a_step_is_refused_while_one_runs_whatever_opens_it() -> None:
    work = Work().begin()
    assert "step 1 runs (do it)" in refused(work, u.StepBegun(goal="x", signal="го"), "manifest_step_running")
    work = Work().proven().passed().begin()
    token = bind("x", "work-1", "1")
    refused(work, u.StepBegun(goal="x", token=token), "manifest_step_running")


def test_the_next_step_begins_afresh_and_remembers_only_the_last_result_and_patch() -> None:
    work = Work().proven().passed(changed=("a.py",))
    before = work.document
    after = work.begin(goal="the next thing").document
    assert (Routing(), Ledgers(), Resume()) == (after.ROUTING, after.LEDGERS, after.RESUME)
    assert after.LAST_RESULT == before.LAST_RESULT
    assert after.PATCH_TRACKING == before.PATCH_TRACKING
    assert (after.CURRENT_STEP.STEP_ID, after.CURRENT_STEP.STEP_STATUS) == ("2", StepStatus.RUNNING)


def test_steps_are_numbered_on_and_each_name_is_used_once() -> None:
    work = Work().begin(step="lint").fell()
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    refused(work, u.StepBegun(goal="x", signal="go", step="lint"), "manifest_step_repeated")
    assert work.begin().document.CURRENT_STEP.STEP_ID == "2"
    work.fell().say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    assert work.begin(step="7").document.CURRENT_STEP.STEP_ID == "7"
    work.fell().say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    refused(work, u.StepBegun(goal="x", signal="go", step="lint"), "manifest_step_repeated")
    assert work.begin().document.CURRENT_STEP.STEP_ID == "8"


@pytest.mark.parametrize("name", ["9" * 200, "٣", "compile"])
def test_a_name_that_is_no_number_to_count_on_from_does_not_stop_the_count(name: str) -> None:
    work = Work().begin(step=name).fell()
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    assert work.begin().document.CURRENT_STEP.STEP_ID == "2"


# --- signal and token -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["го", "ГО", "Го", "go", "GO", " go "])
def test_the_signal_opens_the_next_step_in_any_case(signal: str) -> None:
    assert Work().proven().passed().begin(signal=signal).document.CURRENT_STEP.STEP_ID == "2"


@pytest.mark.parametrize("signal", ["g0", "гo", "gо", "goo", "yes", "го го", "true", " "])
def test_another_word_is_no_signal(signal: str) -> None:
    refused(Work().proven().passed(), u.StepBegun(goal="x", signal=signal), "manifest_signal_wrong")


def test_a_wrong_word_spoils_a_right_token_and_a_wrong_token_a_right_signal() -> None:
    work = Work().proven().passed()
    token = work.document.RESUME.RESUME_TOKEN
    refused(work, u.StepBegun(goal="x", token=token, signal="no"), "manifest_signal_wrong")
    refused(work, u.StepBegun(goal="x", token=token + "x", signal="го"), "manifest_token_wrong")
    assert work.begin(token=token, signal="го").document.CURRENT_STEP.STEP_ID == "2"


def test_the_next_step_needs_the_signal_or_the_token() -> None:
    refused(Work().proven().passed(), u.StepBegun(goal="x"), "manifest_signal_missing")


def test_the_token_of_the_last_result_opens_one_step_and_no_second_one() -> None:
    work = Work().proven().passed()
    token = work.document.RESUME.RESUME_TOKEN
    work.begin(signal="", token=token).route().prove().passed()
    assert token != work.document.RESUME.RESUME_TOKEN
    assert "used already" in refused(work, u.StepBegun(goal="x", token=token), "manifest_token_used")


def test_a_used_token_that_was_written_back_is_still_used() -> None:
    work = Work().proven().passed()
    token = work.document.RESUME.RESUME_TOKEN
    used = frozenset({hashlib.sha256(token.encode()).hexdigest()})
    refused(work, u.StepBegun(goal="x", token=token), "manifest_token_used", used_tokens=used)


def test_a_token_of_an_earlier_step_that_nobody_used_is_refused() -> None:
    work = Work().proven().passed()
    token = work.document.RESUME.RESUME_TOKEN
    work.begin(signal="го").route().prove().passed()
    said = refused(work, u.StepBegun(goal="x", token=token), "manifest_token_other_step")
    assert "follows another step than 2" in said


def test_a_token_of_another_session_is_refused() -> None:
    other = Work()
    other.say(u.Begun(session="work-2"))
    token = other.proven().passed().document.RESUME.RESUME_TOKEN
    said = refused(Work().proven().passed(), u.StepBegun(goal="x", token=token), "manifest_token_foreign")
    assert "another session than work-1" in said


@pytest.mark.parametrize("end", ["", "0", "-"])
def test_a_token_that_only_looks_right_is_refused(end: str) -> None:
    work = Work().proven().passed()
    token = work.document.RESUME.RESUME_TOKEN
    wrong = token[:-1] if not end else token + end
    assert "not the token" in refused(work, u.StepBegun(goal="x", token=wrong), "manifest_token_wrong")


def test_words_that_are_no_token_at_all_are_refused() -> None:
    work = Work().proven().passed()
    for text in ("x", "го", "0" * 500, "\udcff"):
        refused(work, u.StepBegun(goal="x", token=text), "manifest_token_wrong")
    refused(work, u.StepBegun(goal="x", token="a-b-c"), "manifest_token_foreign")


def test_a_token_that_is_bound_to_nothing_opens_nothing_even_where_it_was_written_down() -> None:
    assert wrong_with("x", "x", "work-1", "1", frozenset())[0] == "manifest_token_wrong"
    token = bind("x", "work-1", "1")
    assert wrong_with(token, token, "work-1", "1", frozenset()) == ("", "")


def test_before_the_first_step_no_token_is_right_and_no_other_word() -> None:
    work = Work()
    work.say(u.Begun(session="work-1"))
    said = refused(work, u.StepBegun(goal="x", token=bind("x", "work-1", "")), "manifest_token_wrong")
    assert "has given no token" in said
    refused(work, u.StepBegun(goal="x", signal="yes"), "manifest_signal_wrong")


def test_each_result_gives_a_token_of_its_own_and_a_stale_one_is_our_fault() -> None:
    work = Work().proven()
    with pytest.raises(InvariantBreach, match="no fresh token"):
        decide(work.document, ended(PASS, target=NEXT), work.facts(token=""))
    token = bind("again", "work-1", "1")
    used = frozenset({hashlib.sha256(token.encode()).hexdigest()})
    with pytest.raises(InvariantBreach, match="not fresh"):
        decide(work.document, ended(PASS, target=NEXT), work.facts(token="again", used_tokens=used))


# --- the order of seven ---------------------------------------------------------------------------------------------


def test_a_step_is_routed_once_and_that_opens_its_ledgers() -> None:
    work = Work().begin().route()
    assert work.document.ROUTING == ROUTING
    assert work.document.LEDGERS.ENGINE_RUN_LEDGER.run_id.startswith("run-")
    refused(work, u.Routed(routing=ROUTING), "manifest_step_routed")


def test_a_step_that_asks_for_nothing_is_routed_all_the_same() -> None:
    work = Work().begin().route(Routing())
    refused(work, u.Routed(routing=ROUTING), "manifest_step_routed")
    work.say(u.RoleTold(role="SPC", status=Ran.RAN))


def test_routing_without_a_name_for_its_runs_is_our_fault() -> None:
    work = Work().begin()
    for routing in (ROUTING, Routing()):
        with pytest.raises(InvariantBreach, match="no fresh run_id"):
            decide(work.document, u.Routed(routing=routing), work.facts(run_id=""))


@pytest.mark.parametrize(
    "key", ["REQUIRED_IDX", "REQUIRED_ROLES", "REQUIRED_ENG_KEYS", "REQUIRED_KB_KEYS", "REQUIRED_VAL_KEYS"]
)
def test_an_empty_name_in_routing_is_refused(key: str) -> None:
    refused(Work().begin(), u.Routed(routing=msgspec.convert({key: ["A", ""]}, Routing)), "value_invalid")


@pytest.mark.parametrize("pattern", ["", " ", "/etc/passwd", "C:\\keys", "a/../b", "./a/../../b"])
def test_a_forbidden_pattern_that_would_hold_nothing_is_refused(pattern: str) -> None:
    refused(Work().begin(), u.Routed(routing=Routing(NO_GO_LIST=("a", pattern))), "value_invalid")


LEDGERS: tuple[u.Update, ...] = (
    u.RoleTold(role="VAL", status=Ran.RAN),
    u.EngineTold(key="KEY:ENG.LINT", status=Ran.RAN),
    u.OutputTold(output="PLAN"),
)
IN_A_STEP = (u.Routed(routing=ROUTING), *LEDGERS, ended(FAIL, requirements=("x",)), ended(PASS, target=NEXT))


@pytest.mark.parametrize("update", LEDGERS)
def test_a_ledger_is_refused_before_the_step_is_routed(update: u.Update) -> None:
    refused(Work().begin(), update, "manifest_step_unrouted")


@pytest.mark.parametrize("update", IN_A_STEP)
def test_nothing_is_said_of_a_step_that_does_not_run(update: u.Update) -> None:
    work = Work()
    work.say(u.Begun(session="w"))
    refused(work, update, "manifest_no_step_runs")
    refused(Work().proven().passed(), update, "manifest_no_step_runs")
    refused(Work().begin().fell(), update, "manifest_no_step_runs")


# --- ledgers --------------------------------------------------------------------------------------------------------


def test_an_entry_told_again_is_replaced_where_it_stands() -> None:
    work = Work().begin().route()
    for update in (
        u.RoleTold(role="VAL", status=Ran.FAILED, notes="no disk"),
        u.RoleTold(role="QA", status=Ran.SKIPPED),
        u.RoleTold(role="VAL", status=Ran.RAN, outputs=("PLAN", work.ref("plan.json"))),
        u.EngineTold(key="E", status=Ran.FAILED),
        u.EngineTold(key="F", status=Ran.RAN, notes="fine"),
        u.EngineTold(key="E", status=Ran.SKIPPED),
        u.OutputTold(output="PLAN", ref=work.ref("plan.json"), source="SPC"),
        u.OutputTold(output="LATER"),
        u.OutputTold(output="PLAN"),
    ):
        work.say(update)
    held = work.document.LEDGERS
    assert [(one.role, one.status, one.notes) for one in held.ROLE_LEDGER] == [
        ("VAL", Ran.RAN, ""),
        ("QA", Ran.SKIPPED, ""),
    ]
    assert held.ROLE_LEDGER[0].outputs_produced == ("PLAN", work.ref("plan.json"))
    entries = held.ENGINE_RUN_LEDGER.entries
    assert [(one.eng_key, one.status) for one in entries] == [("E", Ran.SKIPPED), ("F", Ran.RAN)]
    assert [(one.output, one.present, one.ref) for one in held.OUTPUT_LEDGER] == [
        ("PLAN", False, ""),
        ("LATER", False, ""),
    ]


@pytest.mark.parametrize(
    "update",
    [
        u.RoleTold(role="", status=Ran.RAN),
        u.EngineTold(key="", status=Ran.RAN),
        u.OutputTold(output=""),
        u.RoleTold(role="VAL", status=Ran.RAN, outputs=("",)),
        u.RoleTold(role="two words", status=Ran.RAN),
        u.EngineTold(key="E", status=Ran.RAN, notes="two\nlines"),
        u.EngineTold(key="E" * 201, status=Ran.RAN),
        u.OutputTold(output="O", source="\x00"),
    ],
)
def test_what_does_not_fit_its_key_is_refused(update: u.Update) -> None:
    refused(Work().begin().route(), update, "value_invalid")


def test_half_a_surrogate_pair_is_refused_and_not_written() -> None:
    refused(Work().begin().route(), u.RoleTold(role="A", status=Ran.RAN, notes="\udcff"), "text_not_utf8")


def told_with(ref: str) -> tuple[u.Update, ...]:
    return (
        u.OutputTold(output="PLAN", ref=ref),
        u.RoleTold(role="VAL", status=Ran.RAN, outputs=(ref,)),
        u.EngineTold(key="E", status=Ran.FAILED, outputs=(ref,)),
    )


def test_a_file_is_refused_that_is_not_there_or_is_not_what_is_said_of_it() -> None:
    work = Work().begin().route()
    for update in told_with("gone.json#sha256=" + "0" * 64):
        assert "gone.json, which is not there" in refused(work, update, "manifest_ref_unresolved")
    for update in told_with("plan.json#sha256=" + "0" * 64):
        refused(work, update, "manifest_ref_differs")
    for update in told_with("plan.json#sha256=abc"):
        refused(work, update, "manifest_ref_invalid")
    refused(work, u.OutputTold(output="PLAN", ref="plan.json"), "manifest_ref_invalid")


# --- by hand --------------------------------------------------------------------------------------------------------


def test_nothing_is_said_to_a_manifest_that_contradicts_itself() -> None:
    work = Work().begin()
    step = replace(work.document.CURRENT_STEP, NEXT_SIGNAL_REQUIRED=False)
    work.document = work.traced = replace(work.document, CURRENT_STEP=step)
    for update in (u.Routed(routing=ROUTING), ended(PASS, target=NEXT), u.Begun(session="x")):
        said = refused(work, update, "manifest_impossible")
        assert "without a signal or token" in said


@pytest.mark.parametrize("update", [u.Routed(routing=ROUTING), ended(FAIL, requirements=("x",))])
def test_nothing_is_said_to_a_manifest_that_was_written_by_hand(update: u.Update) -> None:
    work = Work().begin()
    step = replace(work.document.CURRENT_STEP, STEP_GOAL="something easier")
    work.document = replace(work.document, CURRENT_STEP=step)
    said = refused(work, update, "manifest_hand_written")
    assert "CURRENT_STEP" in said
    assert "--restore" in said


def test_a_rule_of_ours_that_led_to_what_cannot_be_is_found_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = Work().begin()
    fault = Impossible(rule="r", section="ROUTING", key="", message="routed at the wrong time")
    monkeypatch.setattr(rules, "impossible", lambda document: (fault,) if document.ROUTING.DOMAIN else ())
    with pytest.raises(InvariantBreach, match="routed at the wrong time"):
        decide(work.document, u.Routed(routing=ROUTING), work.facts())


def test_nothing_is_said_on_a_broken_trace_or_on_none() -> None:
    work = Work().begin()
    update = u.Routed(routing=ROUTING)
    said = refused(
        work, update, "manifest_trace_broken", trace_faults=("line 2 is not the one that was written",)
    )
    assert "line 2" in said
    assert "no trace" in refused(work, update, "manifest_hand_written", traced=None)


def test_an_update_is_one_document_after_another_and_names_what_it_wrote() -> None:
    work = Work().proven()
    before = msgspec.json.encode(work.document)
    decided = decide(work.document, ended(PASS, target=NEXT), work.facts())
    assert msgspec.json.encode(work.document) == before
    assert decided.wrote == ("CURRENT_STEP", "LAST_RESULT", "PATCH_TRACKING", "RESUME")
    assert impossible(decided.document) == ()
