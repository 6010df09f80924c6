"""What can be done next, as the exact commands; decided by the document alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Final

from rspp.cli.manifest.place import FILE_DEFAULT, Place
from rspp.manifest.document import VAL_REPORT, Document, Ran, is_met
from rspp.manifest.refused import Missing
from rspp.manifest.steps import is_routed

NOTHING_LEFT: Final = "NONE"
# Codes of what is missing that a new report may mend.
_OF_REPORT: Final = ("report_", "check_")


def next_commands(
    document: Document, state: str, place: Place, missing: Sequence[Missing] = ()
) -> tuple[str, ...]:
    """In the order in which they are due: all that is left to do. What is in capitals is to be filled in."""
    stale = any(one.code.startswith(_OF_REPORT) for one in missing)
    return tuple(f"rspp manifest {_named(verb, place)}" for verb in _due(document, state, stale))


def _named(verb: str, place: Place) -> str:
    """The verb with the options that name this manifest, where it is not the default one."""
    options = [] if place.file == FILE_DEFAULT else ["--file", quote(str(place.file))]
    if place.root is not None:
        options += ["--root", quote(str(place.root))]
    head, separator, command = verb.partition(" -- ")
    return " ".join([head, *options]) + separator + command


def _due(document: Document, state: str, stale: bool) -> Iterator[str]:
    if state == "running":
        yield from _of_running(document, stale)
    elif state in ("failed", "stopped") and not document.RESUME.RESUME_ALLOWED:
        for number, text in enumerate(document.RESUME.RESUME_REQUIREMENTS, start=1):
            if not is_met(text):
                yield f"resume --met {number} --ref FILE"
    elif state != "done":
        yield _begin(document, state)


def _begin(document: Document, state: str) -> str:
    goal = document.RESUME.RESUME_TARGET.GOAL
    words = f"step begin --goal {quote(goal)}" if goal and goal != NOTHING_LEFT else "step begin --goal GOAL"
    return words if state == "blank" else f"{words} --signal go"


def _of_running(document: Document, stale: bool) -> Iterator[str]:
    """What a running step still needs; what has run well is not asked for again."""
    routing, ledgers = document.ROUTING, document.LEDGERS
    if not is_routed(document):
        yield "route --from FILE"
        return
    ran = {one.eng_key for one in ledgers.ENGINE_RUN_LEDGER.entries if one.status is Ran.RAN}
    roles = {one.role for one in ledgers.ROLE_LEDGER if one.status is Ran.RAN}
    present = {one.output for one in ledgers.OUTPUT_LEDGER if one.present}
    for role in routing.REQUIRED_ROLES:
        if role not in roles:
            yield f"role {quote(role)} --ran --output FILE"
    for key in routing.REQUIRED_ENG_KEYS:
        if key not in ran:
            yield f"engine {quote(key)} --run -- COMMAND"
    for key in routing.REQUIRED_VAL_KEYS:
        if key not in ran:
            yield f"check {quote(key)} -- COMMAND"
    for name in routing.OUTPUT_CONTRACT:
        if name not in present and name != VAL_REPORT:
            yield f"output {quote(name)} --ref FILE"
    if stale or VAL_REPORT not in present:
        yield "report"
    yield "result pass --next-goal GOAL"
