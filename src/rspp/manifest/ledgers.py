"""What roles, engines and outputs say while a step runs. One entry a name: told again, the last word counts.

What a role or an engine produced (`outputs`) is said in one of two ways: a file as PATH#sha256=HEX, which must be that file
when it is said and still at PASS; or the name of an output, which must be present in OUTPUT_LEDGER at PASS.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from rspp.manifest.document import Document, EngineEntry, Ledgers, OutputEntry, RoleEntry
from rspp.manifest.proofs import unresolved
from rspp.manifest.refs import says_ref
from rspp.manifest.refused import Refused
from rspp.manifest.steps import check_running, is_routed
from rspp.manifest.updates import EngineTold, OutputTold, RoleTold
from rspp.manifest.world import Facts


def role_told(document: Document, update: RoleTold, facts: Facts) -> Document:
    _check_open(document, update.role, "role")
    _check_produced(f"role {update.role}", update.outputs, facts)
    entry = RoleEntry(
        role=update.role, status=update.status, outputs_produced=update.outputs, notes=update.notes
    )
    known = {one.role: one for one in document.LEDGERS.ROLE_LEDGER}
    return _with(document, ROLE_LEDGER=tuple({**known, entry.role: entry}.values()))


def engine_told(document: Document, update: EngineTold, facts: Facts) -> Document:
    _check_open(document, update.key, "key")
    _check_produced(f"engine {update.key}", update.outputs, facts)
    entry = EngineEntry(
        eng_key=update.key, status=update.status, outputs_produced=update.outputs, notes=update.notes
    )
    runs = document.LEDGERS.ENGINE_RUN_LEDGER
    known = {one.eng_key: one for one in runs.entries}
    entries = tuple({**known, entry.eng_key: entry}.values())
    return _with(document, ENGINE_RUN_LEDGER=replace(runs, entries=entries))


def output_told(document: Document, update: OutputTold, facts: Facts) -> Document:
    _check_open(document, update.output, "output")
    if update.ref:
        check_ref(f"the output {update.output}", update.ref, facts)
    entry = OutputEntry(output=update.output, present=bool(update.ref), source=update.source, ref=update.ref)
    known = {one.output: one for one in document.LEDGERS.OUTPUT_LEDGER}
    return _with(document, OUTPUT_LEDGER=tuple({**known, entry.output: entry}.values()))


def check_ref(owner: str, ref: str, facts: Facts) -> None:
    """A reference is refused unless its file is there and is what it says."""
    for missing in unresolved(owner, ref, facts):
        raise Refused(f"manifest_{missing.code}", f"{missing.what}. {missing.fix}", "ref", (missing,))


def _check_open(document: Document, name: str, field: str) -> None:
    check_running(document)
    if not is_routed(document):
        raise Refused("manifest_step_unrouted", "the step is not routed yet; its ledgers come after that")
    if not name:
        raise Refused("value_invalid", "an entry of a ledger has a name", field)


def _check_produced(owner: str, outputs: Iterable[str], facts: Facts) -> None:
    for output in outputs:
        if not output:
            raise Refused(
                "value_invalid", f"{owner} says that it produced something without a name", "outputs"
            )
        if says_ref(output):
            check_ref(owner, output, facts)


def _with(document: Document, **ledgers: object) -> Document:
    after: Ledgers = replace(document.LEDGERS, **ledgers)
    return replace(document, LEDGERS=after)


__all__ = ["check_ref", "engine_told", "output_told", "role_told"]
