"""What a file says becomes a document, or faults with line and key; written back, nothing but values changes."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.manifest import form
from rspp.manifest.document import (
    CurrentStep,
    Document,
    EngineEntry,
    EngineRuns,
    LastResult,
    Ledgers,
    OutputEntry,
    Ran,
    Resume,
    RoleEntry,
    Routing,
    Session,
)
from rspp.manifest.faults import ManifestError

replace = msgspec.structs.replace

# A short one of the kind that teams keep: the sections explained one by one, then the blank instance, then `END.`.
KEPT = """\
# 08__RUNTIME_MANIFEST
KIND: ENGINE
STATUS: CANON

## [M] PURPOSE
RUNTIME_MANIFEST — единая “истина”.
- один шаг = одна запись

---

### 1) SESSION
SESSION:
  SESSION_ID: "<runtime>"

### 2) CURRENT_STEP
CURRENT_STEP:
  STEP_ID: "<incremental>"

## [M] DEFAULT TEMPLATE (blank instance)
{}
END."""

FULL = Document(
    SESSION=Session(SESSION_ID="s-1", STARTED_AT="2026-01-31"),
    CURRENT_STEP=CurrentStep(STEP_ID="3", STEP_GOAL='say "go": # not a comment'),
    ROUTING=Routing(REQUIRED_ROLES=("VAL", "QA"), NO_GO_LIST=("secrets/**", "*.key")),
    LEDGERS=Ledgers(
        ROLE_LEDGER=(
            RoleEntry(role="VAL", status=Ran.RAN, outputs_produced=("a", "б")),
            RoleEntry(role="QA", status=Ran.FAILED, notes="no"),
        ),
        ENGINE_RUN_LEDGER=EngineRuns(run_id="r", entries=(EngineEntry(eng_key="E", status=Ran.SKIPPED),)),
        OUTPUT_LEDGER=(OutputEntry(output="PLAN", present=True, ref="plan.json#sha256=00"),),
    ),
    RESUME=Resume(RESUME_REQUIREMENTS=("one", "two", "three")),
)


def faults_of(text: str, name: str = "m.yaml") -> list[tuple[int, str, str]]:
    read = form.read(text, name)
    assert (read.document is None) == bool(read.faults)
    return [(fault.line, fault.key, fault.code) for fault in read.faults]


def line_of(text: str, what: str) -> int:
    return text[: text.index(what)].count("\n") + 1


def test_the_blank_template_is_the_blank_document() -> None:
    assert form.read(form.blank(), "m.yaml").document == Document()
    assert form.blank().startswith('SESSION:\n  SESSION_ID: ""\n')
    assert 'USER_SIGNAL: "го"' in form.blank()


def test_a_document_goes_into_yaml_and_back() -> None:
    text = form.write("", FULL, "m.yaml")
    assert form.read(text, "m.yaml").document == FULL
    assert form.write(text, Document(), "m.yaml") == form.blank()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_the_prose_around_the_block_stays_byte_for_byte(line_end: str, bom: str) -> None:
    text = bom + KEPT.format(form.blank()).replace("\n", line_end)
    before, after = text.split(form.blank().replace("\n", line_end))
    assert form.read(text, "08__RUNTIME_MANIFEST.md").document == Document()
    written = form.write(text, FULL, "08__RUNTIME_MANIFEST.md")
    assert form.read(written, "08__RUNTIME_MANIFEST.md").document == FULL
    assert written.startswith(before)
    assert written.endswith(after)
    assert written.replace(line_end, "").count("\n") == 0
    assert form.write(written, Document(), "08__RUNTIME_MANIFEST.md") == text


@pytest.mark.parametrize("fence", ["```yaml", "~~~yml", "````", "```yaml  "])
def test_a_fenced_block_is_found_whatever_its_fence(fence: str) -> None:
    sign = fence.rstrip("yaml ").rstrip("yml")
    text = f"# Work  \n\nSESSION: see below\n\n{fence}\n# kept\n{form.blank()}{sign}\n\ntrailing  \t\n\n"
    written = form.write(text, FULL, "m.md")
    assert form.read(written, "m.md").document == FULL
    assert written.startswith(f"# Work  \n\nSESSION: see below\n\n{fence}\n# kept\nSESSION:")
    assert written.endswith(f"{sign}\n\ntrailing  \t\n\n")
    assert form.write(written, Document(), "m.md") == text


def test_a_block_in_a_list_keeps_its_indent() -> None:
    inside = "".join(f"  {line}\n" if line else "\n" for line in form.blank().split("\n")[:-1])
    text = f"- work:\n\n  ```yaml\n{inside}  ```\n"
    written = form.write(text, FULL, "m.md")
    assert form.read(written, "m.md").document == FULL
    assert "\n      REQUIRED_ROLES:\n" not in written
    assert '\n    REQUIRED_ROLES:\n      - "VAL"\n' in written


def test_other_code_is_no_manifest() -> None:
    text = f"```text\n{form.blank()}```\n\n```python\n{form.blank()}```\n"
    (fault,) = form.read(text, "m.md").faults
    assert fault.code == "manifest_block"


def test_without_a_block_the_nearest_is_named_with_what_it_lacks() -> None:
    text = "# x\n\n" + form.blank()[: form.blank().index("LAST_RESULT")]
    (fault,) = form.read(text, "m.md").faults
    assert (fault.line, fault.code) == (3, "manifest_block")
    assert "LAST_RESULT, PATCH_TRACKING, RESUME" in fault.message
    assert "SESSION" in form.read("nothing\n", "m.md").faults[0].message
    assert form.read("", "m.md").faults


def test_two_blocks_are_one_too_many() -> None:
    text = f"{form.blank()}\n# again\n\n{form.blank()}"
    (fault,) = form.read(text, "m.md").faults
    second = line_of(text, "# again") + 2
    assert f"(lines 1, {second})" in fault.message
    with pytest.raises(ManifestError, match="more than one manifest"):
        form.write(text, FULL, "m.md")


# --- what is not changed is not touched -----------------------------------------------------------------------------

LIVED = """\
# of the whole file

RESUME:  # out of its order
  RESUME_ALLOWED:   false
  RESUME_TOKEN: ''
  RESUME_REQUIREMENTS: []   # none yet
  RESUME_TARGET: {FILE: "", GOAL: ""}
SESSION:
  SESSION_ID: plain-one
  STARTED_AT: 2026-01-31
  UPDATED_AT: '2026-01-31'
  OWNER: USER

  # between keys
  MODE: "REPO"
CURRENT_STEP:
    STEP_ID: "3"
    STEP_STATUS: RUNNING
    STEP_GOAL: >-
      a goal over
      two lines
    NEXT_SIGNAL_REQUIRED: True
    USER_SIGNAL: го   # the signal
    ACTIVE_FOLDER: ""
    ACTIVE_FILE: ""
ROUTING: {DOMAIN: "", ARTIFACT_TYPE: "", PROFILE_KEY: "", PIPE_SELECTED: "", REQUIRED_IDX: [], REQUIRED_ROLES: [VAL,
  QA], REQUIRED_ENG_KEYS: [], REQUIRED_KB_KEYS: [], REQUIRED_VAL_KEYS: [], OUTPUT_CONTRACT: [], NO_GO_LIST: []}
LEDGERS:
  ROLE_LEDGER:
  # why the first
  - role: VAL  # first
    status: ran
    outputs_produced:
    - a
    notes: ""
  # why the second
  - {role: QA, status: failed, outputs_produced: [], notes: ''}
  ENGINE_RUN_LEDGER:
    run_id: "r"
    entries: [ ]
  OUTPUT_LEDGER: []
LAST_RESULT:
  STATUS: "NONE"
  FAIL_CODE: ""
  FAIL_REASONS: []
  FIX_LIST: []
  VAL_REPORT_REF: ""
  PACK_OUTPUT_REF: ""
PATCH_TRACKING:
  LAST_PATCHSET_ID: ""
  LAST_FILES_CHANGED: []
  CHANGELOG_REF: ""
  NEXT_POINTER: ""
# the end"""


def lived() -> Document:
    document = form.read(LIVED, "m.yaml").document
    assert document is not None
    return document


def changed_lines(before: str, after: str) -> list[str]:
    kept = before.split("\n")
    return [line for line in after.split("\n") if line not in kept]


def test_a_value_changes_alone() -> None:
    document = lived()
    assert document.CURRENT_STEP.STEP_GOAL == "a goal over two lines"
    assert document.ROUTING.REQUIRED_ROLES == ("VAL", "QA")
    session = replace(document.SESSION, UPDATED_AT="2026-02-01")
    written = form.write(LIVED, replace(document, SESSION=session), "m.yaml")
    assert written == LIVED.replace("UPDATED_AT: '2026-01-31'", 'UPDATED_AT: "2026-02-01"')
    assert form.write(LIVED, document, "m.yaml") is LIVED


def test_lists_grow_and_shrink_where_they_stand() -> None:
    document = lived()
    ledgers = document.LEDGERS
    more = replace(ledgers, ROLE_LEDGER=(*ledgers.ROLE_LEDGER, RoleEntry(role="CTL", status=Ran.RAN)))
    written = form.write(LIVED, replace(document, LEDGERS=more), "m.yaml")
    added = '\n  - role: "CTL"\n    status: "ran"\n    outputs_produced: []\n    notes: ""'
    assert written == LIVED.replace("notes: ''}", "notes: ''}" + added)

    first = replace(ledgers, ROLE_LEDGER=ledgers.ROLE_LEDGER[:1])
    written = form.write(LIVED, replace(document, LEDGERS=first), "m.yaml")
    assert written == LIVED.replace(
        "\n  # why the second\n  - {role: QA, status: failed, outputs_produced: [], notes: ''}",
        "\n  # why the second",
    )

    none = replace(ledgers, ROLE_LEDGER=())
    written = form.write(LIVED, replace(document, LEDGERS=none), "m.yaml")
    assert "  ROLE_LEDGER: []\n  # why the first\n  ENGINE_RUN_LEDGER:\n" in written


def test_an_empty_list_keeps_the_comment_behind_it() -> None:
    document = lived()
    resume = replace(document.RESUME, RESUME_REQUIREMENTS=("one", "two"))
    written = form.write(LIVED, replace(document, RESUME=resume), "m.yaml")
    assert written == LIVED.replace(
        "  RESUME_REQUIREMENTS: []   # none yet",
        '  RESUME_REQUIREMENTS:   # none yet\n    - "one"\n    - "two"',
    )


def test_a_value_over_two_lines_becomes_one() -> None:
    document = lived()
    step = replace(document.CURRENT_STEP, STEP_GOAL="short", NEXT_SIGNAL_REQUIRED=False)
    written = form.write(LIVED, replace(document, CURRENT_STEP=step), "m.yaml")
    assert (
        '    STEP_GOAL: "short"\n    NEXT_SIGNAL_REQUIRED: false\n    USER_SIGNAL: го   # the signal\n'
        in written
    )


def test_everything_at_once_into_a_file_that_people_wrote() -> None:
    written = form.write(LIVED, FULL, "m.yaml")
    assert form.read(written, "m.yaml").document == FULL
    for comment in (
        "# of the whole file",
        "# out of its order",
        "# between keys",
        "# the signal",
        "# first",
        "# the end",
    ):
        assert comment in written


def test_a_manifest_in_json_stays_json() -> None:
    text = msgspec.json.encode(Document()).decode()
    written = form.write(text, FULL, "m.yaml")
    assert form.read(written, "m.yaml").document == FULL
    assert written.startswith("{")
    assert "\n" not in written


LINES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, [*range(32), 127]))),
    max_size=12,
)
KEYS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, blacklist_characters="\x7f"), min_size=1, max_size=6
)
ROLES = st.builds(
    RoleEntry,
    role=KEYS,
    status=st.sampled_from(Ran),
    outputs_produced=st.lists(LINES, max_size=3).map(tuple),
    notes=LINES,
)
DOCUMENTS = st.builds(
    Document,
    SESSION=st.builds(Session, SESSION_ID=KEYS),
    CURRENT_STEP=st.builds(CurrentStep, STEP_GOAL=LINES, NEXT_SIGNAL_REQUIRED=st.booleans()),
    ROUTING=st.builds(Routing, REQUIRED_ROLES=st.lists(KEYS, max_size=3).map(tuple)),
    LEDGERS=st.builds(Ledgers, ROLE_LEDGER=st.lists(ROLES, max_size=3).map(tuple)),
    LAST_RESULT=st.builds(LastResult, FAIL_REASONS=st.lists(LINES, max_size=3).map(tuple)),
)


@settings(max_examples=6, deadline=None)
@given(
    st.lists(DOCUMENTS, min_size=2, max_size=3),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([LIVED, form.blank()]),
)
def test_any_document_follows_any_other_in_any_file(
    documents: list[Document], line_end: str, text: str
) -> None:
    around = KEPT.format("```yaml\n" + text + "\n```").replace("\n", line_end)
    for name, start in (("m.yaml", text.replace("\n", line_end)), ("m.md", around)):
        written = start
        for document in documents:
            written = form.write(written, document, name)
            assert form.read(written, name).document == document
        assert ("# the end" in written) == ("# the end" in text)
        assert "# between keys" in written or "# between keys" not in text


# --- what is wrong --------------------------------------------------------------------------------------------------


def test_all_faults_are_told_at_once_with_line_and_key() -> None:
    text = (
        form.blank()
        .replace('OWNER: "USER"', 'OWNR: "USER"')
        .replace('STEP_STATUS: "RUNNING"', 'STEP_STATUS: "RUNING"')
        .replace("NEXT_SIGNAL_REQUIRED: true", 'NEXT_SIGNAL_REQUIRED: "true"')
        .replace("REQUIRED_IDX: []", "REQUIRED_IDX: 3")
        .replace('FAIL_CODE: ""', "FAIL_CODE: 12")
        .replace('NEXT_POINTER: ""', "NEXT_POINTER:")
        .replace('STARTED_AT: ""', 'STARTED_AT: "yesterday"')
    )
    assert faults_of(text) == [
        (1, "SESSION.OWNER", "manifest_key_missing"),
        (3, "SESSION.STARTED_AT", "manifest_value_invalid"),
        (5, "SESSION.OWNR", "manifest_key_unknown"),
        (line_of(text, "RUNING"), "CURRENT_STEP.STEP_STATUS", "manifest_value_invalid"),
        (line_of(text, "NEXT_SIGNAL"), "CURRENT_STEP.NEXT_SIGNAL_REQUIRED", "manifest_value_invalid"),
        (line_of(text, "REQUIRED_IDX"), "ROUTING.REQUIRED_IDX", "manifest_value_invalid"),
        (line_of(text, "FAIL_CODE"), "LAST_RESULT.FAIL_CODE", "manifest_value_invalid"),
        (line_of(text, "NEXT_POINTER"), "PATCH_TRACKING.NEXT_POINTER", "manifest_value_invalid"),
    ]
    fixes = {fault.key: fault.fix for fault in form.read(text, "m.yaml").faults}
    assert fixes["SESSION.OWNR"] == "Did you mean OWNER?"
    assert fixes["CURRENT_STEP.STEP_STATUS"] == "Did you mean RUNNING?"
    assert fixes["LAST_RESULT.FAIL_CODE"] == 'Put it in quotes: "12"'


def test_an_entry_of_a_ledger_is_named_by_its_place() -> None:
    text = LIVED.replace("status: failed", "state: failed")
    line = line_of(text, "state: failed")
    assert faults_of(text) == [
        (line, "LEDGERS.ROLE_LEDGER[1].status", "manifest_key_missing"),
        (line, "LEDGERS.ROLE_LEDGER[1].state", "manifest_key_unknown"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('SESSION_ID: ""', 'SESSION_ID: &a ""', "anchors"),
        ('FAIL_CODE: ""', "FAIL_CODE: *a", "aliases"),
        ('MODE: "REPO"', 'MODE: !!str "REPO"', "tag"),
        ('MODE: "REPO"', 'MODE: "REPO"\n  MODE: "REPO"', "given already on line 6"),
        ("LAST_RESULT:", "<<: {}\nLAST_RESULT:", "merge"),
        ("LAST_RESULT:", "---\nLAST_RESULT:", "one document"),
        ("LAST_RESULT:", "\tLAST_RESULT:", "no YAML"),
        ('MODE: "REPO"', 'MODE: "REPO', "no YAML"),
        ('MODE: "REPO"', "MODE: " + "[" * 40 + "]" * 40, "deeper"),
        ('MODE: "REPO"', "? [a]\n  : b", "a key is text"),
        ("SESSION:", "\x00SESSION:", "no YAML"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(old: str, new: str, says: str) -> None:
    faults = form.read(form.blank().replace(old, new, 1), "m.yaml").faults
    assert any(says in fault.message for fault in faults), [str(fault) for fault in faults]
    assert all(fault.line > 0 and fault.fix for fault in faults)


@pytest.mark.parametrize("text", ["", "null", "# only this\n", "- a\n", "text"])
def test_what_is_no_manifest_at_all_is_told(text: str) -> None:
    assert form.read(text, "m.yaml").faults


def test_bounds_hold() -> None:
    long = form.blank().replace('STEP_GOAL: ""', f'STEP_GOAL: "{"x" * 2001}"')
    assert "2001 characters" in form.read(long, "m.yaml").faults[0].message
    many = form.blank().replace("FIX_LIST: []", f"FIX_LIST: [{'a, ' * 2001}]")
    assert "2001 items" in form.read(many, "m.yaml").faults[0].message
    two_lines = form.blank().replace('STEP_GOAL: ""', 'STEP_GOAL: "a\\nb"')
    assert "one line" in form.read(two_lines, "m.yaml").faults[0].fix
    too_large = form.decode(b"#" * (form.FILE_BYTES_MAX + 1), "m.yaml")
    assert not isinstance(too_large, str)
    assert "1048577 bytes" in too_large.message


def test_bytes_that_are_no_text_are_told_with_their_line() -> None:
    fault = form.decode(b"SESSION:\n  MODE: \xff\n", "m.yaml")
    assert not isinstance(fault, str)
    assert (fault.line, fault.column) == (2, 9)


def test_noise_is_never_more_than_a_fault() -> None:
    chance, blank = random.Random(5), form.blank()
    for _ in range(20):
        at, to = sorted(chance.randrange(len(blank)) for _ in range(2))
        noise = "".join(chance.choices("{}[]:,-#&*!|>'\"%@` \n\tA1", k=chance.randrange(6)))
        text = blank[:at] + noise + blank[min(to, at + 9) :]
        for name in ("m.yaml", "m.md"):
            read: Any = form.read(text, name)
            assert (read.document is None) == bool(read.faults)


@pytest.mark.parametrize("broken", ["not: [a manifest", "", "\ufeff- a\n"])
def test_a_file_that_cannot_be_read_is_filled_anew(broken: str) -> None:
    assert form.read(form.write(broken, FULL, "m.yaml"), "m.yaml").document == FULL
    written = form.write(f"# prose\n\n{broken}\n", FULL, "m.md")
    assert written.startswith(f"# prose\n\n{broken}\n")
    assert form.read(written, "m.md").document == FULL
    damaged = form.blank().replace("USER_SIGNAL: ", "USER_SIGNAL ")
    written = form.write(f"before\n\n{damaged}\nEND.", FULL, "m.md")
    assert written.startswith("before\n\nSESSION:")
    assert written.endswith("\nEND.")
