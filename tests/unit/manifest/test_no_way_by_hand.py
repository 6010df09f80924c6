"""No file that somebody made by hand passes without its proofs, and none that its trace does not know."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rspp.manifest import updates as u
from rspp.manifest.document import (
    VAL_REPORT,
    CurrentStep,
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
    ValCheck,
    ValReport,
)
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refused import Refused
from rspp.manifest.rules import decide
from rspp.manifest.world import Facts
from tests.unit.manifest.oracle import is_proven, read_off
from tests.unit.manifest.player import PASS, ROUTINGS, replace
from tests.unit.manifest.work import NEXT, Work

KEYS: Final = st.sampled_from(["A", "E", "V"])
SUBSET: Final = st.lists(KEYS, max_size=2, unique=True).map(tuple)
STATUS: Final = st.sampled_from([Ran.RAN, Ran.RAN, Ran.SKIPPED, Ran.FAILED])
WORLD: Final = {
    "out.txt": b"out",
    "val.json": msgspec.json.encode(
        ValReport(
            session="work-1",
            step="1",
            verdict="pass",
            checks=tuple(ValCheck(key=key, verdict="pass") for key in "AEV"),
        )
    ),
}


def made_ref(path: str) -> str:
    work = Work()
    work.files = dict(WORLD)
    return path and f"{path}#sha256={work.sha256(path) or '0' * 64}"


SOME_REF: Final = st.sampled_from(["out.txt", "val.json", "gone", ""]).map(made_ref)
REPORT_REF: Final = st.sampled_from(["val.json", "val.json", "val.json", "out.txt"]).map(made_ref)


def entries(kind: type[Any], name: str) -> st.SearchStrategy[Any]:
    made = st.builds(kind, **{name: KEYS, "status": STATUS, "outputs_produced": st.just(())})
    return st.lists(made, max_size=3, unique_by=lambda one: getattr(one, name)).map(tuple)


OUTPUTS: Final = st.tuples(
    st.builds(OutputEntry, output=st.just(VAL_REPORT), present=st.booleans() | st.just(True), ref=REPORT_REF),
    st.builds(OutputEntry, output=st.just("OUT"), present=st.booleans(), ref=SOME_REF),
).flatmap(lambda both: st.sampled_from([both, both[:1], both[:1], both[1:], ()]))
ROUTING: Final = st.builds(
    Routing,
    REQUIRED_ROLES=SUBSET,
    REQUIRED_ENG_KEYS=SUBSET,
    REQUIRED_VAL_KEYS=SUBSET,
    OUTPUT_CONTRACT=st.sampled_from([(), ("OUT",)]),
    NO_GO_LIST=st.sampled_from([(), ("*.key",)]),
)
FAR: Final = st.builds(
    Document,
    SESSION=st.sampled_from(
        [
            Session(SESSION_ID=name, STARTED_AT="2026-01-01", UPDATED_AT="2026-01-02")
            for name in ("work-1", "work-1", "w")
        ]
    ),
    CURRENT_STEP=st.builds(
        CurrentStep,
        STEP_ID=st.sampled_from(["1", "1", "1", "2", ""]),
        STEP_STATUS=st.sampled_from([*StepStatus, StepStatus.RUNNING, StepStatus.RUNNING]),
        STEP_GOAL=st.just("g"),
    ),
    ROUTING=st.just(Routing()) | ROUTING,
    LEDGERS=st.builds(
        Ledgers,
        ROLE_LEDGER=entries(RoleEntry, "role"),
        ENGINE_RUN_LEDGER=st.builds(
            EngineRuns, run_id=st.sampled_from(["r", "r", "r", ""]), entries=entries(EngineEntry, "eng_key")
        ),
        OUTPUT_LEDGER=OUTPUTS,
    ),
    LAST_RESULT=st.just(LastResult()) | st.builds(LastResult, STATUS=st.sampled_from(ResultStatus)),
    PATCH_TRACKING=st.sampled_from(
        [PatchTracking(), PatchTracking(), PatchTracking(LAST_FILES_CHANGED=("b.key",))]
    ),
    RESUME=st.just(Resume()) | st.builds(Resume, RESUME_ALLOWED=st.booleans(), RESUME_TARGET=st.just(NEXT)),
)


KEYS_ALL: Final = ("A", "E", "V")
# Everything that any routing here asks for is there; what people make is this with up to three parts of something else.
WHOLE: Final = Document(
    SESSION=Session(SESSION_ID="work-1", STARTED_AT="2026-01-01", UPDATED_AT="2026-01-02"),
    CURRENT_STEP=CurrentStep(STEP_ID="1", STEP_GOAL="g"),
    LEDGERS=Ledgers(
        ROLE_LEDGER=tuple(RoleEntry(role=key, status=Ran.RAN) for key in KEYS_ALL),
        ENGINE_RUN_LEDGER=EngineRuns(
            run_id="r", entries=tuple(EngineEntry(eng_key=key, status=Ran.RAN) for key in KEYS_ALL)
        ),
        OUTPUT_LEDGER=(
            OutputEntry(output=VAL_REPORT, present=True, ref=made_ref("val.json")),
            OutputEntry(output="OUT", present=True, ref=made_ref("out.txt")),
        ),
    ),
)
PARTS: Final = ("SESSION", "CURRENT_STEP", "ROUTING", "ROUTING", "LAST_RESULT", "PATCH_TRACKING", "RESUME")
BOOKS: Final = ("ROLE_LEDGER", "ENGINE_RUN_LEDGER", "OUTPUT_LEDGER")


def mixed(other: Document, parts: list[str], books: list[str]) -> Document:
    ledgers = replace(WHOLE.LEDGERS, **{name: getattr(other.LEDGERS, name) for name in books})
    return replace(WHOLE, LEDGERS=ledgers, **{name: getattr(other, name) for name in parts})


MADE: Final = st.builds(
    mixed,
    FAR,
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.lists(st.sampled_from(BOOKS), min_size=1, max_size=2),
)


def facts_about(document: Document, traced: Document | None, **other: Any) -> Facts:
    work = Work()
    work.files, work.document, work.traced = dict(WORLD), document, traced
    return work.facts(guarded_now={}, **other)


def check_made(document: Document, traced: Document | None, changed: tuple[str, ...]) -> bool:
    """What a document says, and what is said to it, never passes by the rules alone where it does not by the oracle."""
    facts = facts_about(document, traced)
    story = read_off(document)
    over = document.CURRENT_STEP.STEP_STATUS is not StepStatus.RUNNING
    claimed = document.PATCH_TRACKING.LAST_FILES_CHANGED if over else ()
    lacking = missing_for_pass(document, facts)
    assert (not lacking) == (is_proven(story, facts, claimed) and traced == document), lacking
    update = u.Resulted(status=PASS, target=NEXT, changed=changed)
    try:
        after = decide(document, update, facts).document
    except Refused:
        return False
    assert after.CURRENT_STEP.STEP_STATUS is PASS
    assert story.running
    assert traced == document
    assert is_proven(story, facts, changed)
    return True


DERANDOMIZED: Final = {
    "derandomize": True,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}


@given(MADE, st.booleans() | st.just(True), st.sampled_from([(), ("a.py",), ("B.key",)]))
@settings(max_examples=60, **DERANDOMIZED)  # type: ignore[arg-type]
def test_no_document_made_by_hand_passes_without_its_proofs(
    document: Document, traced: bool, changed: tuple[str, ...]
) -> None:
    check_made(document, document if traced else None, changed)


@given(MADE, MADE)
@settings(max_examples=20, **DERANDOMIZED)  # type: ignore[arg-type]
def test_no_document_passes_that_the_trace_does_not_know(document: Document, traced: Document) -> None:
    check_made(document, traced, ())


@pytest.mark.slow
@pytest.mark.long
@given(MADE, st.booleans() | st.just(True), st.sampled_from([(), ("a.py",), ("B.key",)]))
@settings(max_examples=20_000, **DERANDOMIZED)  # type: ignore[arg-type]
def test_no_document_made_by_hand_passes_in_very_many(
    document: Document, traced: bool, changed: tuple[str, ...]
) -> None:
    check_made(document, document if traced else None, changed)


@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_document_can_pass_where_everything_is_there(routing: Routing) -> None:
    document = replace(WHOLE, ROUTING=routing)
    assert check_made(document, document, ())
    assert not check_made(document, None, ())
