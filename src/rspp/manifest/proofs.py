"""What a step still owes before it may be said to have passed. Everything that is missing is named, not the first of it.

The proof of a step is what was really done in it and is on record: each required role, engine and validator has an entry
that says `ran`, every promised output is a file that is still what it was, the report of validation says pass, nothing
forbidden was touched, and the trace has seen all of it being told. A step whose ROUTING asks for nothing owes no less than
this: something ran, and a report with a check that passed.

REQUIRED_IDX and REQUIRED_KB_KEYS are what a step reads: they are no proof, and nothing here asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator

from rspp.manifest.document import (
    VAL_REPORT,
    Document,
    EngineEntry,
    OutputEntry,
    Ran,
    RoleEntry,
    Section,
    StepStatus,
    changed,
)
from rspp.manifest.forbidden import guard, is_below
from rspp.manifest.refs import read_ref, says_ref
from rspp.manifest.refused import Missing
from rspp.manifest.reports import report_faults
from rspp.manifest.world import Facts


def missing_for_pass(
    document: Document, facts: Facts, changed_files: tuple[str, ...] | None = None
) -> tuple[Missing, ...]:
    """All that the present step lacks for PASS, or that a PASS on record lacks; nothing where it is proven.

    `changed_files` are those that the result is about to name. Left out, they are LAST_FILES_CHANGED of a step that is
    over, and none while one runs: what stands there then is of the step before.
    """
    if not document.CURRENT_STEP.STEP_ID:
        return (_missing("step_missing", "no step was begun", "Begin a step, route it and do its work."),)
    if changed_files is None:
        over = document.CURRENT_STEP.STEP_STATUS is not StepStatus.RUNNING
        changed_files = document.PATCH_TRACKING.LAST_FILES_CHANGED if over else ()
    return (
        *hand_written(document, facts),
        *_ran(document),
        *_outputs(document, facts),
        *_claims(document, facts),
        *_report(document, facts),
        *_touched(document, facts, changed_files),
    )


def _missing(code: str, what: str, fix: str) -> Missing:
    return Missing(code=code, what=what, fix=fix)


# --- the trace ------------------------------------------------------------------------------------------------------


def hand_written(document: Document, facts: Facts) -> Iterator[Missing]:
    """All that the trace does not know, and what is wrong with the trace itself."""
    for fault in facts.trace_faults:
        yield _missing("trace_broken", f"the trace is not intact: {fault}", "Restore what the trace says.")
    if facts.traced is None:
        yield _missing(
            "trace_missing", "there is no trace of this work", "Find the TRACE that belongs to it."
        )
        return
    for what in _unknown(facts.traced, document):
        fix = "Take the change back (`rspp manifest resume --restore`), and say what was really done."
        yield _missing("hand_written", what, fix)


def _unknown(traced: Document, document: Document) -> Iterator[str]:
    """What a document says and its trace does not: entry by entry in the ledgers, elsewhere by the section."""
    sections = changed(traced, document)
    for section in sections:
        if section != "LEDGERS":
            yield f"{section} says what the trace does not know"
    if "LEDGERS" not in sections:
        return
    before, now = _entries(traced), _entries(document)
    named = [f"the trace does not know what {name} says" for name in now if now[name] != before.get(name)]
    named += [f"the trace knows {name}, which is gone from the ledgers" for name in before if name not in now]
    if document.LEDGERS.ENGINE_RUN_LEDGER.run_id != traced.LEDGERS.ENGINE_RUN_LEDGER.run_id:
        named.append("the trace knows another run_id")
    yield from named or ["the trace knows the ledgers' entries in another order, or each of them once"]


def _entries(document: Document) -> dict[str, Section]:
    """Each entry of the ledgers by what it is called in a sentence."""
    ledgers = document.LEDGERS
    return {
        **{f"role {entry.role}": entry for entry in ledgers.ROLE_LEDGER},
        **{f"engine {entry.eng_key}": entry for entry in ledgers.ENGINE_RUN_LEDGER.entries},
        **{f"output {entry.output}": entry for entry in ledgers.OUTPUT_LEDGER},
    }


# --- what ran -------------------------------------------------------------------------------------------------------


def _ran(document: Document) -> Iterator[Missing]:
    ledgers, routing = document.LEDGERS, document.ROUTING
    roles = {entry.role: entry.status for entry in ledgers.ROLE_LEDGER}
    engines = {entry.eng_key: entry.status for entry in ledgers.ENGINE_RUN_LEDGER.entries}
    if not ledgers.ENGINE_RUN_LEDGER.run_id:
        yield _missing("route_missing", "the step was not routed", "Route it: say what it must do.")
    for kind, required, known in (
        ("role", routing.REQUIRED_ROLES, roles),
        ("engine", routing.REQUIRED_ENG_KEYS, engines),
        ("validator", routing.REQUIRED_VAL_KEYS, engines),
    ):
        for key in dict.fromkeys(required):
            yield from _one_ran(kind, key, known.get(key))
    if Ran.RAN not in (*roles.values(), *engines.values()):
        yield _missing("nothing_ran", "no role and no engine ran in this step", "Run one, and say so.")


def _one_ran(kind: str, key: str, status: Ran | None) -> Iterator[Missing]:
    if status is Ran.RAN:
        return
    said = {
        None: (f"{kind}_missing", f"the {kind} {key} has no entry", f"Run {key}, and say so."),
        Ran.SKIPPED: (
            f"{kind}_skipped",
            f"the {kind} {key} was skipped",
            f"Run {key}; required is required.",
        ),
        Ran.FAILED: (
            f"{kind}_failed",
            f"the {kind} {key} failed",
            f"Mend why {key} failed, and run it again.",
        ),
    }[status]
    yield _missing(*said)


# --- outputs --------------------------------------------------------------------------------------------------------


def _outputs(document: Document, facts: Facts) -> Iterator[Missing]:
    """Of every promised output, and of everything else that claims to be there."""
    known = {entry.output: entry for entry in document.LEDGERS.OUTPUT_LEDGER}
    claimed = (name for name, entry in known.items() if entry.present)
    for name in dict.fromkeys((*document.ROUTING.OUTPUT_CONTRACT, VAL_REPORT, *claimed)):
        yield from _output(name, known.get(name), facts)


def _output(name: str, entry: OutputEntry | None, facts: Facts) -> Iterator[Missing]:
    if entry is None:
        yield _missing(
            "output_missing", f"the output {name} has no entry", f"Make {name}, and name its file."
        )
    elif not entry.present:
        yield _missing(
            "output_absent", f"the output {name} is not there yet", f"Make {name}, and name its file."
        )
    else:
        yield from unresolved(f"the output {name}", entry.ref, facts)


def unresolved(owner: str, text: str, facts: Facts) -> Iterator[Missing]:
    """What is wrong with a reference; nothing where its file is there and is what it was."""
    ref = read_ref(text)
    if ref is None:
        what = f"{owner} names {text or 'no file'}, without what it was"
        yield _missing("ref_invalid", what, "Name a file as PATH#sha256=HEX.")
        return
    now = facts.files.get(ref.path, "")
    if not now:
        what = f"{owner} names {ref.path}, which is not there"
        yield _missing("ref_unresolved", what, "Bring the file back, or make it again and say so.")
    elif now != ref.sha256:
        what = f"{owner} names {ref.path}, which is not what it was when it was recorded"
        yield _missing("ref_differs", what, "Bring the file back as it was, or say it again as it is.")


def _claims(document: Document, facts: Facts) -> Iterator[Missing]:
    """What ran and says what it produced: a file must be what it was, and the name of an output stand in its ledger."""
    present = {entry.output for entry in document.LEDGERS.OUTPUT_LEDGER if entry.present}
    for name, entry in _entries(document).items():
        if not isinstance(entry, RoleEntry | EngineEntry) or entry.status is not Ran.RAN:
            continue
        for claim in entry.outputs_produced:
            if says_ref(claim):
                yield from unresolved(name, claim, facts)
            elif claim not in present:
                what = f"{name} says that it produced {claim}, which is no output that is there"
                yield _missing(
                    "claim_unproven", what, "Name its file as PATH#sha256=HEX, or say it as an output."
                )


# --- the report of validation ---------------------------------------------------------------------------------------


def _report(document: Document, facts: Facts) -> Iterator[Missing]:
    entry = next((one for one in document.LEDGERS.OUTPUT_LEDGER if one.output == VAL_REPORT), None)
    ref = read_ref(entry.ref) if entry is not None else None
    if ref is not None and facts.files.get(ref.path) == ref.sha256:
        for code, what, fix in report_faults(document, ref, facts.report):
            yield _missing(code, what, fix)


# --- what must not be touched ---------------------------------------------------------------------------------------


def _touched(document: Document, facts: Facts, changed_files: tuple[str, ...]) -> Iterator[Missing]:
    holding = guard(document.ROUTING.NO_GO_LIST)
    guarded = sorted({*facts.guarded_before, *facts.guarded_now})
    for path in changed_files:
        names = (path, *facts.names.get(path, ()))
        pattern = next(filter(None, map(holding, names)), "")
        inside = next((one for one in guarded if any(is_below(one, name) for name in names)), "")
        if pattern or inside:
            what = f"{path} was changed, and NO_GO_LIST forbids {pattern or inside}"
            yield _missing("no_go_changed", what, f"Take the change of {path} back.")
    for path in guarded:
        before, now = facts.guarded_before.get(path), facts.guarded_now.get(path)
        if before != now:
            how = "appeared" if before is None else "is gone" if now is None else "is not what it was"
            what = f"{path} {how} since the step was routed, and NO_GO_LIST forbids that"
            yield _missing("no_go_touched", what, f"Bring {path} back as it was.")


__all__ = ["Missing", "hand_written", "missing_for_pass", "unresolved"]
