"""What no update leads to: each combination is told by its rule, its section and its key, and sound documents break none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rspp.manifest import updates as u
from rspp.manifest.combinations import EACH, RULES, impossible
from rspp.manifest.document import (
    SECTIONS,
    Document,
    EngineEntry,
    EngineRuns,
    LastResult,
    Ledgers,
    OutputEntry,
    PatchTracking,
    Ran,
    ResultStatus,
    Resume,
    RoleEntry,
    Routing,
    Session,
    StepStatus,
)
from rspp.manifest.tokens import bind
from tests.unit.manifest.work import NEXT, Work

replace = msgspec.structs.replace
REF = "a#sha256=" + "0" * 64


def put(document: Document, section: str, **keys: Any) -> Document:
    return replace(document, **{section: replace(getattr(document, section), **keys)})


def session() -> Document:
    work = Work()
    work.say(u.Begun(session="work-1"))
    return work.document


def running() -> Document:
    return Work().proven().document


def unrouted() -> Document:
    return Work().begin().document


def passed() -> Document:
    return Work().proven().passed(changed=("a.py",)).document


def failed() -> Document:
    return (
        Work()
        .begin()
        .route()
        .fell("bring it", "mend it", fail_code="F", reasons=("r",), fixes=("f",))
        .document
    )


def stopped() -> Document:
    return Work().begin().fell("bring it", status=StepStatus.STOP_GAP).document


def met() -> Document:
    work = Work().begin().fell("bring it")
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    return work.document


def second() -> Document:
    return Work().proven().passed().begin().route().document


SOUND: tuple[Callable[[], Document], ...] = (
    Document,
    session,
    unrouted,
    running,
    passed,
    failed,
    stopped,
    met,
    second,
)

# From a sound document, what somebody writes into it; and which rule says so, where.
WRONG: tuple[tuple[Callable[[], Document], str, dict[str, Any], str, str], ...] = (
    (
        unrouted,
        "SESSION",
        {"SESSION_ID": "", "STARTED_AT": "", "UPDATED_AT": ""},
        "session_unnamed",
        "SESSION_ID",
    ),
    (session, "SESSION", {"STARTED_AT": "", "UPDATED_AT": ""}, "session_undated", "STARTED_AT"),
    (session, "SESSION", {"UPDATED_AT": ""}, "session_not_updated", "UPDATED_AT"),
    (session, "SESSION", {"UPDATED_AT": "2026-03-03"}, "session_back_in_time", "UPDATED_AT"),
    (session, "SESSION", {"UPDATED_AT": "2026-13-01"}, "date_unreal", "UPDATED_AT"),
    (session, "CURRENT_STEP", {"NEXT_SIGNAL_REQUIRED": False}, "signal_not_required", "NEXT_SIGNAL_REQUIRED"),
    (running, "CURRENT_STEP", {"USER_SIGNAL": ""}, "signal_other", "USER_SIGNAL"),
    (session, "CURRENT_STEP", {"STEP_GOAL": "something"}, "step_unnamed", "STEP_ID"),
    (session, "CURRENT_STEP", {"ACTIVE_FILE": "a"}, "step_unnamed", "STEP_ID"),
    (running, "CURRENT_STEP", {"STEP_GOAL": " "}, "step_aimless", "STEP_GOAL"),
    (session, "ROUTING", {"DOMAIN": "SYS"}, "routing_without_step", ""),
    (unrouted, "ROUTING", {"DOMAIN": "SYS"}, "routing_without_ledgers", "ENGINE_RUN_LEDGER.run_id"),
    (session, "LEDGERS", {"ENGINE_RUN_LEDGER": EngineRuns(run_id="r")}, "ledgers_without_step", ""),
    (
        unrouted,
        "LEDGERS",
        {"ROLE_LEDGER": (RoleEntry(role="A", status=Ran.RAN),)},
        "ledgers_unrouted",
        "ENGINE_RUN_LEDGER.run_id",
    ),
    (session, "LAST_RESULT", {"STATUS": ResultStatus.FAIL}, "result_without_step", "STATUS"),
    (passed, "LAST_RESULT", {"STATUS": ResultStatus.FAIL}, "result_other", "STATUS"),
    (failed, "LAST_RESULT", {"STATUS": ResultStatus.NONE}, "result_other", "STATUS"),
    (running, "LAST_RESULT", {"FAIL_CODE": "x"}, "result_of_nothing", "STATUS"),
    (passed, "LAST_RESULT", {"FAIL_CODE": "x"}, "pass_with_code", "FAIL_CODE"),
    (second, "LAST_RESULT", {"FAIL_REASONS": ("x",)}, "pass_with_reasons", "FAIL_REASONS"),
    (passed, "LAST_RESULT", {"FIX_LIST": ("x",)}, "pass_with_fixes", "FIX_LIST"),
    (passed, "LAST_RESULT", {"VAL_REPORT_REF": REF}, "report_other", "VAL_REPORT_REF"),
    (passed, "LAST_RESULT", {"VAL_REPORT_REF": ""}, "report_other", "VAL_REPORT_REF"),
    (failed, "LAST_RESULT", {"PACK_OUTPUT_REF": REF}, "pack_other", "PACK_OUTPUT_REF"),
    (running, "PATCH_TRACKING", {"CHANGELOG_REF": "x"}, "patch_of_nothing", ""),
    (passed, "PATCH_TRACKING", {"LAST_PATCHSET_ID": ""}, "patch_unnamed", "LAST_PATCHSET_ID"),
    (running, "RESUME", {"RESUME_TOKEN": bind("x", "work-1", "1")}, "resume_without_end", ""),
    (running, "RESUME", {"RESUME_ALLOWED": True}, "resume_without_end", ""),
    (running, "RESUME", {"RESUME_REQUIREMENTS": ("x",)}, "resume_without_end", ""),
    (session, "RESUME", {"RESUME_TARGET": NEXT}, "resume_without_end", ""),
    (passed, "RESUME", {"RESUME_ALLOWED": False}, "pass_not_resumable", "RESUME_ALLOWED"),
    (passed, "RESUME", {"RESUME_TARGET": replace(NEXT, GOAL=" ")}, "pass_aimless", "RESUME_TARGET.GOAL"),
    (passed, "RESUME", {"RESUME_REQUIREMENTS": ("x => " + REF,)}, "pass_requires", "RESUME_REQUIREMENTS"),
    (failed, "RESUME", {"RESUME_REQUIREMENTS": ()}, "fail_requires_nothing", "RESUME_REQUIREMENTS"),
    (stopped, "RESUME", {"RESUME_REQUIREMENTS": ()}, "fail_requires_nothing", "RESUME_REQUIREMENTS"),
    (failed, "RESUME", {"RESUME_ALLOWED": True}, "allowed_unmet", "RESUME_ALLOWED"),
    (met, "RESUME", {"RESUME_ALLOWED": False}, "met_not_allowed", "RESUME_ALLOWED"),
    (passed, "RESUME", {"RESUME_TOKEN": ""}, "allowed_without_token", "RESUME_TOKEN"),
    (failed, "RESUME", {"RESUME_TOKEN": bind("x", "work-1", "1")}, "token_not_allowed", "RESUME_TOKEN"),
    (passed, "RESUME", {"RESUME_TOKEN": bind("x", "work-2", "1")}, "token_foreign", "RESUME_TOKEN"),
    (passed, "RESUME", {"RESUME_TOKEN": bind("x", "work-1", "2")}, "token_foreign", "RESUME_TOKEN"),
    (passed, "RESUME", {"RESUME_TOKEN": "x"}, "token_foreign", "RESUME_TOKEN"),
    # --- entries ---
    (running, "ROUTING", {"REQUIRED_ROLES": ("A", "")}, "routing_entry", "REQUIRED_ROLES[1]"),
    (running, "ROUTING", {"NO_GO_LIST": ("/etc",)}, "routing_entry", "NO_GO_LIST[0]"),
    (
        running,
        "LEDGERS",
        {"ROLE_LEDGER": (RoleEntry(role="A", status=Ran.RAN),) * 2},
        "ledger_entry",
        "ROLE_LEDGER[1]",
    ),
    (
        running,
        "LEDGERS",
        {"ROLE_LEDGER": (RoleEntry(role="", status=Ran.RAN),)},
        "ledger_entry",
        "ROLE_LEDGER[0]",
    ),
    (
        running,
        "LEDGERS",
        {
            "ENGINE_RUN_LEDGER": EngineRuns(
                run_id="r", entries=(EngineEntry(eng_key="A", status=Ran.RAN),) * 2
            )
        },
        "ledger_entry",
        "ENGINE_RUN_LEDGER.entries[1]",
    ),
    (
        running,
        "LEDGERS",
        {"ROLE_LEDGER": (RoleEntry(role="A", status=Ran.RAN, outputs_produced=("PLAN", "x#sha256=1")),)},
        "ledger_entry",
        "ROLE_LEDGER[0].outputs_produced[1]",
    ),
    (
        running,
        "LEDGERS",
        {
            "ENGINE_RUN_LEDGER": EngineRuns(
                run_id="r", entries=(EngineEntry(eng_key="A", status=Ran.RAN, outputs_produced=("",)),)
            )
        },
        "ledger_entry",
        "ENGINE_RUN_LEDGER.entries[0].outputs_produced[0]",
    ),
    (
        running,
        "LEDGERS",
        {"OUTPUT_LEDGER": (OutputEntry(output="A"),) * 2},
        "output_entry",
        "OUTPUT_LEDGER[1]",
    ),
    (
        running,
        "LEDGERS",
        {"OUTPUT_LEDGER": (OutputEntry(output="A", present=True),)},
        "output_entry",
        "OUTPUT_LEDGER[0].ref",
    ),
    (
        running,
        "LEDGERS",
        {"OUTPUT_LEDGER": (OutputEntry(output="A", ref=REF),)},
        "output_entry",
        "OUTPUT_LEDGER[0].ref",
    ),
    (passed, "PATCH_TRACKING", {"LAST_FILES_CHANGED": (" ",)}, "file_entry", "LAST_FILES_CHANGED[0]"),
    (passed, "PATCH_TRACKING", {"LAST_FILES_CHANGED": ("a", "/b")}, "file_entry", "LAST_FILES_CHANGED[1]"),
    (failed, "RESUME", {"RESUME_REQUIREMENTS": ("x", "")}, "requirement_entry", "RESUME_REQUIREMENTS[1]"),
    (failed, "RESUME", {"RESUME_REQUIREMENTS": ("x", "x")}, "requirement_entry", "RESUME_REQUIREMENTS[1]"),
    (
        failed,
        "RESUME",
        {"RESUME_REQUIREMENTS": ("x", "x => " + REF)},
        "requirement_entry",
        "RESUME_REQUIREMENTS[1]",
    ),
    (
        failed,
        "RESUME",
        {"RESUME_REQUIREMENTS": ("x", "y => done")},
        "requirement_entry",
        "RESUME_REQUIREMENTS[1]",
    ),
)


@pytest.mark.parametrize("make", SOUND)
def test_every_document_that_updates_lead_to_is_possible(make: Callable[[], Document]) -> None:
    assert impossible(make()) == ()


@pytest.mark.parametrize(("make", "section", "keys", "rule", "key"), WRONG)
def test_a_combination_that_cannot_be_is_told_with_its_section_and_key(
    make: Callable[[], Document], section: str, keys: dict[str, Any], rule: str, key: str
) -> None:
    found = impossible(put(make(), section, **keys))
    told = [one for one in found if one.rule == rule]
    assert [one.key for one in told] == [key], found
    assert told[0].message


def test_each_rule_is_shown_to_be_broken_by_something_and_has_a_name_of_its_own() -> None:
    names = [rule.name for rule in RULES] + [name for name, _, _ in EACH]
    assert len(set(names)) == len(names)
    assert {rule for _, _, _, rule, _ in WRONG} == set(names)


def test_each_rule_is_about_a_key_that_there_is() -> None:
    for rule in RULES:
        assert rule.section in SECTIONS
        value: Any = getattr(Document(), rule.section)
        for key in filter(None, rule.key.split(".")):
            value = getattr(value, key)


def test_what_is_wrong_is_told_by_one_rule_alone() -> None:
    for document, rule in (
        (put(session(), "SESSION", UPDATED_AT=""), "session_not_updated"),
        (put(session(), "ROUTING", DOMAIN="SYS"), "routing_without_step"),
        (put(failed(), "RESUME", RESUME_REQUIREMENTS=()), "fail_requires_nothing"),
        (put(session(), "LEDGERS", OUTPUT_LEDGER=(OutputEntry(output="A"),)), "ledgers_without_step"),
    ):
        assert [one.rule for one in impossible(document)] == [rule]


def test_two_faults_are_told_at_once() -> None:
    document = put(put(running(), "CURRENT_STEP", NEXT_SIGNAL_REQUIRED=False), "ROUTING", NO_GO_LIST=("",))
    assert [one.rule for one in impossible(document)] == ["signal_not_required", "routing_entry"]


def test_a_document_that_says_everything_wrong_is_told_and_breaks_nothing() -> None:
    document = Document(
        SESSION=Session(UPDATED_AT="0000-00-00"),
        ROUTING=Routing(DOMAIN="x"),
        LEDGERS=Ledgers(OUTPUT_LEDGER=(OutputEntry(output=""),)),
        LAST_RESULT=LastResult(FAIL_CODE="x"),
        PATCH_TRACKING=PatchTracking(LAST_FILES_CHANGED=("",)),
        RESUME=Resume(RESUME_ALLOWED=True, RESUME_TOKEN="-"),
    )
    assert len(impossible(document)) >= 10
