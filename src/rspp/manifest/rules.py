"""Whether an update may be said, and what the document is afterwards. Pure: time, chance and files come in as facts.

    update    may be said when                    and then
    init      the manifest is blank               a session, and no step yet
    step      no step runs, and the last one      the step runs: ROUTING, LEDGERS and RESUME are empty, LAST_RESULT and
              (if any) opened the next            PATCH_TRACKING are still those of the step before
    route     the step runs, not routed yet       ROUTING is set, and `run_id`, by which a routed step is known
    ledgers   the step runs and is routed         the entry of that name is set; told again, the last word counts
    result    the step runs; PASS: it is proven   LAST_RESULT, PATCH_TRACKING, RESUME; it may fail before it is routed
    met       the step failed or stopped          the requirement carries its reference; with the last one the next step
                                                  is open, as it is after PASS

Nothing at all may be said to a manifest that contradicts itself, was written by hand, or whose trace is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError, from_plain
from rspp.contract.errors import InvariantBreach
from rspp.manifest import updates
from rspp.manifest.combinations import impossible
from rspp.manifest.document import Document, Session, StepStatus, changed
from rspp.manifest.ledgers import engine_told, output_told, role_told
from rspp.manifest.proofs import Missing, hand_written
from rspp.manifest.refused import Refused, listed
from rspp.manifest.results import requirement_met, resulted
from rspp.manifest.states import State, state_of
from rspp.manifest.steps import routed, step_begun
from rspp.manifest.world import Facts, paths_named, report_path


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    document: Document
    wrote: tuple[str, ...]  # the sections that differ, in the file's order


def decide(document: Document, update: updates.Update, facts: Facts) -> Decided:
    """The document after an update; or `Refused`, which says why and what to do, and nothing has changed."""
    _check_sound(document, update, facts)
    after = _touched(_WAYS[type(update)](document, update, facts), facts)
    _check_after(after)
    return Decided(document=after, wrote=changed(document, after))


def _begun(document: Document, update: updates.Begun, facts: Facts) -> Document:
    if document.SESSION.SESSION_ID:
        held = document.SESSION.SESSION_ID
        raise Refused("manifest_session_there", f"this manifest is of the session {held}; begin another file")
    if not update.session:
        raise Refused("value_invalid", "a session has a name", "session")
    session = Session(SESSION_ID=update.session, STARTED_AT=facts.today, OWNER=update.owner, MODE=update.mode)
    return Document(SESSION=session)


_WAYS: Final[Mapping[type[updates.Update], Callable[[Document, Any, Facts], Document]]] = {
    updates.Begun: _begun,
    updates.StepBegun: step_begun,
    updates.Routed: routed,
    updates.RoleTold: role_told,
    updates.EngineTold: engine_told,
    updates.OutputTold: output_told,
    updates.Resulted: resulted,
    updates.RequirementMet: requirement_met,
}


def _check_sound(document: Document, update: updates.Update, facts: Facts) -> None:
    """Before anything else. A PASS goes on to be told all that is missing for it, this too."""
    mend = "Mend it, or restore what the trace says (`rspp manifest resume --restore`)."
    if faults := impossible(document):
        missing = tuple(Missing(code="manifest_impossible", what=one.message, fix=mend) for one in faults)
        raise Refused(
            "manifest_impossible", f"the manifest contradicts itself: {listed(missing)}", missing=missing
        )
    if isinstance(update, updates.Resulted) and update.status is StepStatus.PASS:
        return
    if isinstance(update, updates.Begun) and facts.traced is None and not facts.trace_faults:
        return
    if missing := tuple(hand_written(document, facts)):
        code = "manifest_trace_broken" if facts.trace_faults else "manifest_hand_written"
        raise Refused(
            code, f"nothing can be said to it: {listed(missing)}. {missing[0].fix}", missing=missing
        )


def _touched(document: Document, facts: Facts) -> Document:
    """Dated today; a clock that was set back takes nothing back."""
    session = document.SESSION
    today = max(facts.today, session.STARTED_AT, session.UPDATED_AT)
    return msgspec.structs.replace(document, SESSION=msgspec.structs.replace(session, UPDATED_AT=today))


def _check_after(document: Document) -> None:
    """What was said must fit its keys; and no rule here may lead to what `impossible` forbids."""
    try:
        msgspec.json.encode(document)
        from_plain(msgspec.to_builtins(document), Document)
    except CodecError as error:
        raise Refused("value_invalid", error.message, error.path) from error
    except UnicodeEncodeError as error:
        raise Refused("text_not_utf8", "a text holds half of a surrogate pair") from error
    if faults := impossible(document):
        said = "; ".join(one.message for one in faults)
        raise InvariantBreach("manifest_impossible", f"an update led to what cannot be: {said}")


__all__ = [
    "Decided",
    "Facts",
    "Missing",
    "Refused",
    "State",
    "decide",
    "paths_named",
    "report_path",
    "state_of",
]
