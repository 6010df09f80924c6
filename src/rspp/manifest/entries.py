"""What holds of each entry of a manifest's lists: it has a name, stands there once, and refers to a whole file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from rspp.manifest.document import MET, Document, EngineEntry, RoleEntry, is_met
from rspp.manifest.forbidden import is_absolute, pattern_fault
from rspp.manifest.refs import read_ref, says_ref
from rspp.manifest.results import requirement_fault
from rspp.manifest.steps import KEYS_OF_ROUTING

# The way to the entry below its section, and what is wrong with it.
Found = tuple[str, str]


def dates(document: Document) -> Iterator[Found]:
    for key in ("STARTED_AT", "UPDATED_AT"):
        text = getattr(document.SESSION, key)
        try:
            if text:
                dt.date.fromisoformat(text)
        except ValueError:
            yield key, f"{text} is no day of the calendar"


def routing(document: Document) -> Iterator[Found]:
    for key in KEYS_OF_ROUTING:
        for at, name in enumerate(getattr(document.ROUTING, key)):
            if not name:
                yield f"{key}[{at}]", "an entry is empty"
    for at, pattern in enumerate(document.ROUTING.NO_GO_LIST):
        if fault := pattern_fault(pattern):
            yield f"NO_GO_LIST[{at}]", fault


def ledgers(document: Document) -> Iterator[Found]:
    """Of roles and engines."""
    held = document.LEDGERS
    roles, runs = held.ROLE_LEDGER, held.ENGINE_RUN_LEDGER.entries
    yield from _once("ROLE_LEDGER", "role", [one.role for one in roles])
    yield from _once("ENGINE_RUN_LEDGER.entries", "engine", [one.eng_key for one in runs])
    yield from _produced("ROLE_LEDGER", roles)
    yield from _produced("ENGINE_RUN_LEDGER.entries", runs)


def outputs(document: Document) -> Iterator[Found]:
    entries = document.LEDGERS.OUTPUT_LEDGER
    yield from _once("OUTPUT_LEDGER", "output", [one.output for one in entries])
    for at, one in enumerate(entries):
        key = f"OUTPUT_LEDGER[{at}].ref"
        if one.present and read_ref(one.ref) is None:
            yield key, f"{one.output} is present without the PATH#sha256=HEX of its file"
        elif one.ref and not one.present:
            yield key, f"{one.output} has a ref and is not present"


def files(document: Document) -> Iterator[Found]:
    for at, path in enumerate(document.PATCH_TRACKING.LAST_FILES_CHANGED):
        if not path.strip() or is_absolute(path):
            yield f"LAST_FILES_CHANGED[{at}]", "a changed file is named from the manifest's folder"


def requirements(document: Document) -> Iterator[Found]:
    texts: list[str] = []
    for at, one in enumerate(document.RESUME.RESUME_REQUIREMENTS):
        key = f"RESUME_REQUIREMENTS[{at}]"
        text, _, ref = one.rpartition(MET) if is_met(one) else (one, "", "")
        if fault := requirement_fault(text):
            yield key, fault
        if is_met(one) and read_ref(ref) is None:
            yield key, "a requirement is met by a file: REQUIREMENT => PATH#sha256=HEX"
        if text in texts:
            yield key, "a requirement stands there twice"
        texts.append(text)


def _once(key: str, kind: str, names: list[str]) -> Iterator[Found]:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if not name:
            yield f"{key}[{at}]", f"an entry without the name of its {kind}"
        elif name in seen:
            yield f"{key}[{at}]", f"the {kind} {name} stands there twice"
        seen.add(name)


def _produced(key: str, entries: Iterable[RoleEntry | EngineEntry]) -> Iterator[Found]:
    for at, entry in enumerate(entries):
        for place, text in enumerate(entry.outputs_produced):
            if not text or (says_ref(text) and read_ref(text) is None):
                yield f"{key}[{at}].outputs_produced[{place}]", "neither an output's name nor PATH#sha256=HEX"


__all__ = ["Found", "dates", "files", "ledgers", "outputs", "requirements", "routing"]
