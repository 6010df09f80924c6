"""What PASS needs, written down a second time from the specification, in other words and with other tools.

Nothing here calls the rules, so that a hole in them is no hole here. A `Story` is kept from what was said (or, for a file
that somebody made by hand, read off the document).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Any

from rspp.manifest import updates as u
from rspp.manifest.document import Document, Routing
from rspp.manifest.world import Facts

REF = re.compile(r"(\S+)#sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class Story:
    """One step, as it was told: a role's or engine's status and what it produced, an output's reference."""

    session: str = ""
    step: str = ""
    running: bool = False
    routing: Routing | None = None
    roles: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    engines: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    def after(self, update: u.Update, document: Document) -> Story:
        """With what was just said; only the name of a step is taken from the document."""
        match update:
            case u.Begun():
                return Story(session=update.session)
            case u.StepBegun():
                return Story(session=self.session, step=document.CURRENT_STEP.STEP_ID, running=True)
            case u.Routed():
                return replace(self, routing=update.routing)
            case u.RoleTold():
                return replace(self, roles={**self.roles, update.role: (str(update.status), update.outputs)})
            case u.EngineTold():
                return replace(
                    self, engines={**self.engines, update.key: (str(update.status), update.outputs)}
                )
            case u.OutputTold():
                return replace(self, outputs={**self.outputs, update.output: update.ref})
            case u.Resulted():
                return replace(self, running=False)
        return self


def read_off(document: Document) -> Story:
    """The story that a document tells of itself."""
    ledgers, step = document.LEDGERS, document.CURRENT_STEP
    runs = ledgers.ENGINE_RUN_LEDGER
    return Story(
        session=document.SESSION.SESSION_ID,
        step=step.STEP_ID,
        running=bool(step.STEP_ID) and str(step.STEP_STATUS) == "RUNNING",
        routing=document.ROUTING if runs.run_id else None,
        roles={one.role: (str(one.status), one.outputs_produced) for one in ledgers.ROLE_LEDGER},
        engines={one.eng_key: (str(one.status), one.outputs_produced) for one in runs.entries},
        outputs={one.output: (one.ref or "nothing") if one.present else "" for one in ledgers.OUTPUT_LEDGER},
    )


def is_proven(story: Story, facts: Facts, changed: tuple[str, ...]) -> bool:
    """Whether this step may be said to have passed, apart from who wrote it down."""
    routing = story.routing
    if not story.step or routing is None or facts.trace_faults:
        return False
    ran = {key for key, (status, _) in story.engines.items() if status == "ran"}
    acted = {name for name, (status, _) in story.roles.items() if status == "ran"}
    required = {*routing.REQUIRED_ENG_KEYS, *routing.REQUIRED_VAL_KEYS}
    if not (ran or acted) or not required <= ran or not set(routing.REQUIRED_ROLES) <= acted:
        return False
    there = {name for name, ref in story.outputs.items() if ref}
    if not {*routing.OUTPUT_CONTRACT, "VAL_REPORT"} <= there:
        return False
    claims = [
        text
        for status, texts in (*story.roles.values(), *story.engines.values())
        if status == "ran"
        for text in texts
    ]
    files = [ref for ref in story.outputs.values() if ref] + [one for one in claims if "#" in one]
    if not all(_is_there(ref, facts) for ref in files) or {one for one in claims if "#" not in one} - there:
        return False
    return _says_pass(story, facts) and _left_alone(routing, facts, changed)


def _is_there(ref: str, facts: Facts) -> bool:
    whole = REF.fullmatch(ref)
    return whole is not None and facts.files.get(whole[1]) == whole[2]


def _says_pass(story: Story, facts: Facts) -> bool:
    assert story.routing is not None
    data = facts.report or b""
    if hashlib.sha256(data).hexdigest() != story.outputs["VAL_REPORT"].rpartition("=")[2]:
        return False
    try:
        report: dict[str, Any] = json.loads(data)
        said = [(one["key"], one["verdict"]) for one in report.get("checks", [])]
        whose = (report["session"], report["step"], report["verdict"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    verdicts = dict(said)
    return (
        whose == (story.session, story.step, "pass")
        and report.get("schema", "rspp-val-report-v1") == "rspp-val-report-v1"
        and len(verdicts) == len(said)
        and "pass" in verdicts.values()
        and set(verdicts.values()) <= {"pass", "skipped"}
        and all(verdicts.get(key) == "pass" for key in story.routing.REQUIRED_VAL_KEYS)
    )


def _left_alone(routing: Routing, facts: Facts, changed: tuple[str, ...]) -> bool:
    """The lists of these tests know one pattern: everything whose name ends in `.key`, wherever."""
    if dict(facts.guarded_before) != dict(facts.guarded_now):
        return False
    if not routing.NO_GO_LIST:
        return True
    assert set(routing.NO_GO_LIST) == {"*.key"}
    return not any(part.lower().endswith(".key") for path in changed for part in path.split("/"))


__all__ = ["Story", "is_proven", "read_off"]
