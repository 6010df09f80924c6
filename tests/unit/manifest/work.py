"""A work folder in memory: what the shell does around the rules, without a disk. Its trace is a list of documents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from rspp.manifest import updates as u
from rspp.manifest.document import (
    VAL_REPORT,
    Document,
    Ran,
    ResumeTarget,
    Routing,
    StepStatus,
    ValCheck,
    ValReport,
)
from rspp.manifest.forbidden import guard
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refused import Missing, Refused
from rspp.manifest.rules import decide
from rspp.manifest.tokens import sha256_of
from rspp.manifest.world import Facts, paths_named, report_path

ROUTING = Routing(
    DOMAIN="SYS",
    REQUIRED_ROLES=("VAL", "QA"),
    REQUIRED_ENG_KEYS=("KEY:ENG.LINT",),
    REQUIRED_VAL_KEYS=("KEY:VAL.SCHEMA",),
    OUTPUT_CONTRACT=("PLAN", VAL_REPORT),
    NO_GO_LIST=("secrets/**", "*.key"),
)
NEXT = ResumeTarget(FILE="next.yaml", GOAL="the next thing")


class Work:
    """One manifest, its files and its trace; `say` as the shell says it."""

    def __init__(self) -> None:
        self.document = Document()
        self.traced: Document | None = None
        self.files: dict[str, bytes] = {"plan.json": b"a plan", "secrets/a.txt": b"a secret"}
        self.steps: frozenset[str] = frozenset()
        self.used: frozenset[str] = frozenset()
        self.guarded: dict[str, str] = {}
        self.count = 0

    def say(self, update: u.Update, **other: Any) -> Document:
        after = self.decided(update, **other)
        if isinstance(update, u.StepBegun):
            self.steps |= {after.CURRENT_STEP.STEP_ID}
            self.used |= {sha256_of(token) for token in (update.token,) if token}
            self.guarded = {}
        if isinstance(update, u.Routed):
            self.guarded = self.held(after)
        self.document = self.traced = after
        return after

    def decided(self, update: u.Update, **other: Any) -> Document:
        return decide(self.document, update, self.facts(update, **other)).document

    def forge(self, document: Document, update: u.Update) -> tuple[Missing, ...]:
        """Somebody writes this into the file and says something: it is refused. Says what a PASS in it lacks."""
        before, self.document = self.document, document
        facts = self.facts(update)
        with pytest.raises(Refused):
            decide(document, update, facts)
        self.document = before
        return missing_for_pass(document, facts)

    def facts(self, update: u.Update | None = None, **other: Any) -> Facts:
        self.count += 1
        report = report_path(self.document)
        known = {
            "today": "2026-03-04",
            "token": f"chance{self.count:010}",
            "run_id": f"run-{self.count}",
            "changelog": "CHANGELOG",
            "traced": self.traced,
            "steps": self.steps,
            "used_tokens": self.used,
            "files": {path: self.sha256(path) for path in paths_named(self.document, update)},
            "report": self.files.get(report),
            "guarded_before": self.guarded,
            "guarded_now": self.held(self.document),
        }
        return Facts(**{**known, **other})

    def held(self, document: Document) -> dict[str, str]:
        holding = guard(document.ROUTING.NO_GO_LIST)
        return {path: self.sha256(path) for path in self.files if holding(path)}

    def sha256(self, path: str) -> str:
        data = self.files.get(path)
        return "" if data is None else hashlib.sha256(data).hexdigest()

    def ref(self, path: str) -> str:
        return f"{path}#sha256={self.sha256(path)}"

    def missing(self, **other: Any) -> tuple[Missing, ...]:
        return missing_for_pass(self.document, self.facts(**other))

    def codes(self, **other: Any) -> list[str]:
        return [one.code for one in self.missing(**other)]

    # --- the usual way --------------------------------------------------------------------------------------------

    def begin(self, **how: Any) -> Work:
        """A session with its first step, or the next step by the signal."""
        if not self.document.SESSION.SESSION_ID:
            self.say(u.Begun(session="work-1"))
        self.say(u.StepBegun(**{"goal": "do it", "signal": "го", **how}))
        return self

    def route(self, routing: Routing = ROUTING) -> Work:
        self.say(u.Routed(routing=routing))
        return self

    def report(self, path: str = "val.json", checks: Sequence[ValCheck] | None = None, **other: Any) -> Work:
        """A report of validation is written, and told as an output."""
        keys = self.document.ROUTING.REQUIRED_VAL_KEYS or ("anything",)
        found = (
            [ValCheck(key=key, verdict="pass") for key in dict.fromkeys(keys)] if checks is None else checks
        )
        document = self.document
        known = {
            "session": document.SESSION.SESSION_ID,
            "step": document.CURRENT_STEP.STEP_ID,
            "verdict": "pass",
            "checks": tuple(found),
        }
        self.files[path] = msgspec.json.encode(ValReport(**{**known, **other}))
        self.say(u.OutputTold(output=VAL_REPORT, ref=self.ref(path), source="VAL"))
        return self

    def prove(self) -> Work:
        """Everything that the usual routing asks for is done and told."""
        for role in self.document.ROUTING.REQUIRED_ROLES:
            self.say(u.RoleTold(role=role, status=Ran.RAN))
        for key in (*self.document.ROUTING.REQUIRED_ENG_KEYS, *self.document.ROUTING.REQUIRED_VAL_KEYS):
            self.say(u.EngineTold(key=key, status=Ran.RAN))
        self.say(u.OutputTold(output="PLAN", ref=self.ref("plan.json"), source="SPC"))
        return self.report()

    def proven(self) -> Work:
        return self.begin().route().prove()

    def passed(self, **how: Any) -> Work:
        self.say(u.Resulted(status=StepStatus.PASS, **{"target": NEXT, **how}))
        return self

    def fell(self, *requirements: str, status: StepStatus = StepStatus.FAIL, **how: Any) -> Work:
        self.say(u.Resulted(status=status, requirements=requirements or ("bring the plan",), **how))
        return self

    def refused(self, update: u.Update, **other: Any) -> Refused:
        """What an update is refused with; afterwards nothing has changed."""
        before = self.document
        try:
            decide(before, update, self.facts(update, **other))
        except Refused as refused:
            return refused
        raise AssertionError(f"{update} was not refused")


__all__ = ["NEXT", "ROUTING", "Work"]
