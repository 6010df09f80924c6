"""What is kept of a snapshot: nothing secret, no whole path, never more than its bound, and the steps before it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.control.fleet.work import Work
from rspp.manifest.document import EngineEntry, EngineRuns, Ledgers, OutputEntry, Ran, RoleEntry, Routing
from rspp.manifest.refused import Missing
from rspp.manifest.telling import WorkSnapshot
from rspp.server.work.record import ENCODE, PAST_STEPS_MAX, RECORD_BYTES_MAX, recorded, said
from tests.unit.server.work.told import snapshot, waiting

REF = "out/val.json#sha256=" + "ab12" * 16
SECRET = "sk-proj-Zx81mQpL0aVbN3cYtR5uWe7K"


def test_what_a_manifest_says_is_kept_by_plain_names() -> None:
    ledgers = Ledgers(
        ROLE_LEDGER=(RoleEntry(role="VAL", status=Ran.RAN, outputs_produced=("VAL_REPORT",), notes="quiet"),),
        ENGINE_RUN_LEDGER=EngineRuns(
            run_id="x", entries=(EngineEntry(eng_key="KEY:ENG.LINT", status=Ran.FAILED),)
        ),
        OUTPUT_LEDGER=(OutputEntry(output="VAL_REPORT", present=True, source="VAL", ref=REF),),
    )
    work = recorded(
        msgspec.structs.replace(
            snapshot(3),
            ledgers=ledgers,
            missing=(Missing(code="role_missing", what="QA has not run", fix="run it"),),
            requirements=("mend the gate", f"show the report => {REF}"),
            result={"STATUS": "FAIL", "FAIL_CODE": "gate", "FAIL_REASONS": ["late"], "FIX_LIST": ["a"]},
        ),
        None,
    )
    assert [(one.name, one.status, one.outputs) for one in work.roles] == [("VAL", "ran", ("VAL_REPORT",))]
    assert [(one.name, one.status) for one in work.engines] == [("KEY:ENG.LINT", "failed")]
    assert [(one.name, one.present, one.ref) for one in work.outputs] == [("VAL_REPORT", True, REF)]
    assert [(one.code, one.fix) for one in work.missing] == [("role_missing", "run it")]
    assert [(one.what, one.ref) for one in work.requirements] == [
        ("mend the gate", ""),
        ("show the report", REF),
    ]
    assert work.unmet == ("mend the gate",)
    assert (work.result.status, work.result.code, work.result.reasons) == ("FAIL", "gate", ("late",))
    assert work.cut == ()


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (f"the key is {SECRET}", SECRET),
        ("password=hunter2-very-long", "hunter2"),
        ("no file /srv/ada/project/out/val.json there", "/srv/ada"),
        ("no file ~/project/val.json", "project/"),
        (r"no file C:\Users\bob\val.json", "bob"),
        ("see file:///srv/secret/place.txt", "/srv/secret"),
    ],
)
def test_neither_a_secret_nor_a_whole_path_of_the_machine_is_kept_wherever_it_stands(
    told: str, kept: str
) -> None:
    work = recorded(
        msgspec.structs.replace(
            snapshot(2),
            goal=told,
            reason=told,
            folder="/srv/ada/place/work",
            requirements=(told,),
            missing=(Missing(code="x", what=told, fix=told),),
            result={"STATUS": "FAIL", "FAIL_REASONS": [told], "FIX_LIST": [told]},
            routing=Routing(DOMAIN=told, NO_GO_LIST=(told,)),
            ledgers=Ledgers(ROLE_LEDGER=(RoleEntry(role="VAL", status=Ran.RAN, notes=told),)),
        ),
        None,
    )
    assert kept.encode() not in ENCODE(work)
    assert b"/srv/ada" not in ENCODE(work)
    assert work.folder == "work"


def test_of_a_path_the_last_name_stays_and_what_is_no_path_of_the_machine_stays_whole() -> None:
    assert said("no file /srv/ada/out/val.json there") == "no file .../val.json there"
    for whole in (REF, "ran/skipped", "see https://example.org/a/b", "out/deep/val.json", "1 / 2"):
        assert said(whole) == whole


def test_the_steps_before_are_kept_each_as_it_ended() -> None:
    work = recorded(snapshot(1), None)
    failed = snapshot(2, state="failed", result={"STATUS": "FAIL"}, requirements=("mend it",))
    work = recorded(failed, work)
    met = waiting(3, result={"STATUS": "FAIL"}, requirements=(f"mend it => {REF}",))
    work = recorded(met, work)
    work = recorded(snapshot(4, step="2", goal="publish", result={"STATUS": "FAIL"}), work)
    assert [(one.step, one.status) for one in work.past] == [("1", "FAIL"), ("2", "RUNNING")]
    for number in range(3, 3 + PAST_STEPS_MAX):
        work = recorded(snapshot(number + 2, step=str(number)), work)
    assert len(work.past) == PAST_STEPS_MAX
    assert work.past[-1].step == str(2 + PAST_STEPS_MAX)


def test_a_session_that_is_begun_anew_has_no_steps_of_the_one_before() -> None:
    work = recorded(snapshot(9, step="7"), recorded(snapshot(1), None))
    assert [one.step for one in work.past] == ["1", "7"]
    assert [one.step for one in recorded(snapshot(1, begun="f" * 64), work).past] == ["1"]


def huge(entries: int, characters: int) -> WorkSnapshot:
    text = "words " * (characters // 6)
    runs = tuple(
        RoleEntry(role=f"R{n}", status=Ran.RAN, outputs_produced=(text,) * 20, notes=text)
        for n in range(entries)
    )
    outputs = tuple(
        OutputEntry(output=f"O{n}", present=True, ref=f"{text.strip()}#sha256={'ab' * 32}")
        for n in range(entries)
    )
    return msgspec.structs.replace(
        snapshot(2),
        ledgers=Ledgers(ROLE_LEDGER=runs, OUTPUT_LEDGER=outputs),
        requirements=(text,) * entries,
        routing=Routing(NO_GO_LIST=(text,) * entries),
        result={"STATUS": "FAIL", "FAIL_REASONS": [text] * entries, "FIX_LIST": [text] * entries},
    )


def test_what_is_too_long_is_cut_and_says_so_and_what_fits_is_whole() -> None:
    work = recorded(huge(300, 120), None)
    assert len(ENCODE(work)) <= RECORD_BYTES_MAX
    assert 0 < len(work.roles) < 300
    assert f"roles: {300 - len(work.roles)} more" in work.cut
    assert all(one.ref.endswith("ab" * 32) for one in work.outputs), "a digest is never cut"
    assert recorded(huge(3, 60), None).cut == ()


def test_the_largest_manifest_there_can_be_makes_a_record_within_the_bound() -> None:
    work = recorded(huge(400, 1_900), None)
    assert len(ENCODE(work)) <= RECORD_BYTES_MAX
    assert work.cut
    assert (work.line, work.state, work.step) == (2, "running", "1")


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(max_size=80),
    result=st.dictionaries(
        st.sampled_from(["STATUS", "FAIL_CODE", "FAIL_REASONS", "FIX_LIST"]),
        st.one_of(
            st.none(),
            st.integers(),
            st.text(max_size=20),
            st.lists(st.one_of(st.text(max_size=9), st.none())),
        ),
    ),
)
def test_whatever_a_snapshot_holds_its_record_is_read_back_as_it_was(
    text: str, result: dict[str, object]
) -> None:
    told = msgspec.structs.replace(snapshot(2), goal=text, reason=text, kind=text, folder=text, result=result)
    work = recorded(told, None)
    assert msgspec.json.decode(ENCODE(work), type=Work) == work
