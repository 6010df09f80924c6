"""What the rules may know of the world when they decide. The shell gathers it just before, under the lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from rspp.manifest.document import MET, VAL_REPORT, Document, is_met
from rspp.manifest.refs import read_ref, says_ref
from rspp.manifest.updates import EngineTold, OutputTold, RequirementMet, RoleTold, Update


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known now. What is left out is taken for not being there, so a fact that was forgotten proves nothing."""

    today: str  # 0000-00-00
    # Chance for a token: 16 or more letters and digits that were never used. The rules bind it to session and step.
    token: str = ""
    # A fresh name for the engines' runs of a step, for `route`.
    run_id: str = ""
    # What CHANGELOG_REF is to say.
    changelog: str = ""
    # The document as the trace says that it is, folded from its lines; None where there is no line yet. An update is
    # refused where the file says anything else: somebody wrote it by hand.
    traced: Document | None = None
    # What is wrong with the trace, a sentence each. Nothing may be said to a manifest whose trace is broken.
    trace_faults: tuple[str, ...] = ()
    # The STEP_ID of every step that the trace has begun in this session, the present one too.
    steps: frozenset[str] = frozenset()
    # The SHA-256 (hexadecimal, of the UTF-8) of every token that a step was begun with.
    used_tokens: frozenset[str] = frozenset()
    # Each path of `paths_named(document, update)`, as it is written there: its file's SHA-256, or "" where there is no
    # file, it is a folder or cannot be read, or it lies (symlinks followed) outside the manifest's folder and the root.
    files: Mapping[str, str] = {}
    # The bytes of the file at `report_path(document)`, if they can be read.
    report: bytes | None = None
    # Each changed file that the update (or, once a step is over, LAST_FILES_CHANGED) names, as it is written there: what
    # it is called really, symlinks and `..` resolved, with `/` between: relative to the manifest's folder, and to the root.
    names: Mapping[str, tuple[str, ...]] = {}
    # The files that `forbidden.guard(NO_GO_LIST)` holds, asked by their name relative to the manifest's folder and by the
    # one relative to the root, under the name relative to the root, with their SHA-256: when the step was routed (`seen` of
    # that line); and now, or for a step that is over when its result was written. Both are empty until a step is routed.
    guarded_before: Mapping[str, str] = {}
    guarded_now: Mapping[str, str] = {}


def paths_named(document: Document, update: Update | None = None) -> tuple[str, ...]:
    """The path of every reference in a document and in what is said to it, once each: `Facts.files` has these."""
    refs = (read_ref(text) for text in (*_texts(document), *_said(update)))
    return tuple(dict.fromkeys(ref.path for ref in refs if ref is not None))


def report_path(document: Document) -> str:
    """Where the step's report of validation lies, as its reference says; "" where there is none."""
    for entry in document.LEDGERS.OUTPUT_LEDGER:
        ref = read_ref(entry.ref)
        if entry.output == VAL_REPORT and ref is not None:
            return ref.path
    return ""


def _texts(document: Document) -> Iterator[str]:
    ledgers = document.LEDGERS
    yield from (entry.ref for entry in ledgers.OUTPUT_LEDGER)
    produced = [one.outputs_produced for one in ledgers.ROLE_LEDGER]
    produced += [one.outputs_produced for one in ledgers.ENGINE_RUN_LEDGER.entries]
    yield from (text for texts in produced for text in texts if says_ref(text))
    yield from (document.LAST_RESULT.VAL_REPORT_REF, document.LAST_RESULT.PACK_OUTPUT_REF)
    requirements = document.RESUME.RESUME_REQUIREMENTS
    yield from (one.rpartition(MET)[2] for one in requirements if is_met(one))


def _said(update: Update | None) -> tuple[str, ...]:
    if isinstance(update, OutputTold | RequirementMet):
        return (update.ref,)
    if isinstance(update, RoleTold | EngineTold):
        return update.outputs
    return ()


__all__ = ["Facts", "paths_named", "report_path"]
