"""A player who says and does anything at all to a manifest, and a judge who looks at every update."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Final

import msgspec

from rspp.manifest import updates as u
from rspp.manifest.combinations import impossible
from rspp.manifest.document import (
    VAL_REPORT,
    Document,
    LastResult,
    Ran,
    ResultStatus,
    Resume,
    ResumeTarget,
    RoleEntry,
    Routing,
    StepStatus,
    ValCheck,
    ValReport,
)
from rspp.manifest.refused import Refused
from rspp.manifest.tokens import bind
from rspp.manifest.world import Facts
from tests.unit.manifest.oracle import Story, is_proven, read_off
from tests.unit.manifest.work import NEXT, Work

replace = msgspec.structs.replace
PASS: Final = StepStatus.PASS
ROUTINGS: Final = (
    Routing(),
    Routing(REQUIRED_ROLES=("A",), OUTPUT_CONTRACT=("OUT",), NO_GO_LIST=("*.key",)),
    Routing(REQUIRED_ENG_KEYS=("E",), REQUIRED_VAL_KEYS=("V",), NO_GO_LIST=("*.key",)),
    Routing(
        REQUIRED_ROLES=("A",),
        REQUIRED_ENG_KEYS=("E",),
        REQUIRED_VAL_KEYS=("V",),
        OUTPUT_CONTRACT=("OUT", VAL_REPORT),
    ),
)
FILES: Final = ("out.txt", "val.json", "b.key", "sub/c.key")


class Player:
    """Says and does anything at all: honest work, sloppy work, lies, edits by hand. Judged by the oracle at each update."""

    def __init__(self, seed: int, work: Work | None = None) -> None:
        self.chance = random.Random(seed)
        self.work = work or Work()
        self.lies = work is None  # about the world, too; a disk says what is there
        self.work.files = {path: path.encode() for path in FILES[:3]}
        self.story = Story()
        self.given = ""  # the token of the last result, as long as nobody used it
        self.ended = ""  # how the step before this one ended
        self.count: Counter[str] = Counter()

    def play(self, moves: int) -> Counter[str]:
        for _ in range(moves):
            if self.chance.random() < 0.15:
                self.touch()
            self.say(self.update())
        return self.count

    # --- the world ------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """A file is written, lost or made up. Now and then somebody edits the manifest itself."""
        pick, files = self.chance.choice, self.work.files
        path = pick(FILES[:2] * 3 + FILES)
        if self.chance.random() < 0.2:
            files.pop(path, None)
        else:
            files[path] = pick([b"1", b"2", path.encode()])

    def report(self) -> bytes:
        """A report of validation, mostly by the book."""
        odd = self.chance.random
        checks = [ValCheck(key=key, verdict="pass" if odd() < 0.93 else "skipped") for key in ("V", "W")]
        if odd() < 0.05:
            checks = checks[1:] if odd() < 0.5 else [*checks, ValCheck(key="X", verdict="fail")]
        report = ValReport(
            session=self.story.session if odd() < 0.95 else "work-2",
            step=self.story.step if odd() < 0.95 else "0",
            verdict="pass" if odd() < 0.95 else "fail",
            checks=tuple(checks),
        )
        return msgspec.json.encode(report) + (b"" if odd() < 0.97 else b"}")

    def facts(self, update: u.Update) -> Facts:
        odd = self.chance.random
        other: dict[str, Any] = {}
        if not self.lies:
            return self.work.facts(update)
        if odd() < 0.02:
            other["trace_faults"] = ("line 2 is torn",)
        if odd() < 0.02:
            other["traced"] = self.chance.choice([None, Document()])
        if odd() < 0.02:
            other["files"] = {}
        if odd() < 0.02:
            other["report"] = None
        return self.work.facts(update, **other)

    # --- what is said ---------------------------------------------------------------------------------------------

    def update(self) -> u.Update:
        pick = self.chance.choice
        if not self.story.session:
            return u.Begun(session="work-1")
        if not self.story.running and self.chance.random() < 0.6:
            return pick([self.begin, self.begin, self.met])()
        if self.story.running and self.story.routing is None and self.chance.random() < 0.6:
            return u.Routed(routing=pick(ROUTINGS))
        if self.story.running and self.story.routing is not None and self.chance.random() < 0.5:
            return self.honest(self.story.routing)
        makes = [self.role, self.engine, self.output, self.validated]
        return pick([*makes * 3, self.passes, self.passes, self.falls, self.begin, self.met, self.routes])()

    def honest(self, routing: Routing) -> u.Update:
        """The next thing that an honest player would say."""
        for role in routing.REQUIRED_ROLES or ("A",):
            if self.story.roles.get(role, ("", ()))[0] != "ran":
                return u.RoleTold(role=role, status=Ran.RAN)
        for key in (*routing.REQUIRED_ENG_KEYS, *routing.REQUIRED_VAL_KEYS):
            if self.story.engines.get(key, ("", ()))[0] != "ran":
                return u.EngineTold(key=key, status=Ran.RAN)
        if "OUT" in routing.OUTPUT_CONTRACT and self.story.outputs.get("OUT", "") != self.work.ref("out.txt"):
            self.work.files.setdefault("out.txt", b"1")
            return u.OutputTold(output="OUT", ref=self.work.ref("out.txt"))
        if self.story.outputs.get(VAL_REPORT, "") != self.work.ref("val.json") or self.chance.random() < 0.3:
            return self.validated()
        return self.passes()

    def begin(self) -> u.Update:
        tokens = ("", self.given, self.given, "x", bind("x", "work-1", self.story.step))
        return u.StepBegun(
            goal="g", signal=self.chance.choice(["", "", "го", "no"]), token=self.chance.choice(tokens)
        )

    def routes(self) -> u.Update:
        return u.Routed(routing=self.chance.choice(ROUTINGS))

    def status(self) -> Ran:
        return Ran.RAN if self.chance.random() < 0.8 else self.chance.choice([Ran.SKIPPED, Ran.FAILED])

    def produced(self) -> tuple[str, ...]:
        claims = ("OUT", "out.txt", self.work.ref("out.txt"), "gone#sha256=" + "0" * 64)
        return (self.chance.choice(claims),) if self.chance.random() < 0.15 else ()

    def role(self) -> u.Update:
        return u.RoleTold(role=self.chance.choice("AAB"), status=self.status(), outputs=self.produced())

    def engine(self) -> u.Update:
        return u.EngineTold(key=self.chance.choice("EVEVX"), status=self.status(), outputs=self.produced())

    def output(self) -> u.Update:
        refs = (*[self.work.ref("out.txt")] * 4, "", "out.txt", "out.txt#sha256=" + "0" * 64)
        name = self.chance.choice(["OUT", "OUT", "OUT", VAL_REPORT])
        return u.OutputTold(output=name, ref=self.chance.choice(refs))

    def validated(self) -> u.Update:
        if self.story.running:
            self.work.files["val.json"] = self.report()
        return u.OutputTold(output=VAL_REPORT, ref=self.work.ref("val.json"))

    def passes(self) -> u.Update:
        changed = self.chance.choice([(), (), ("a.py",), ("sub/C.KEY",), ("./b.key",), ("x/../b.key",)])
        target = NEXT if self.chance.random() < 0.95 else ResumeTarget()
        return u.Resulted(status=PASS, changed=changed, target=target)

    def falls(self) -> u.Update:
        status = self.chance.choice([StepStatus.FAIL, StepStatus.STOP_GAP])
        return u.Resulted(status=status, requirements=self.chance.choice([(), ("x",), ("x", "y")]))

    def met(self) -> u.Update:
        ref = self.chance.choice([self.work.ref("out.txt"), "", "gone#sha256=" + "0" * 64])
        return u.RequirementMet(requirement=self.chance.choice(["1", "x", "2", "y"]), ref=ref)

    # --- and judged -----------------------------------------------------------------------------------------------

    def say(self, update: u.Update) -> None:
        work, before = self.work, self.work.document
        if before != Document() and self.chance.random() < 0.03:
            self.say_by_hand(update)
        facts = self.facts(update)
        known = facts.traced == before and not facts.trace_faults
        try:
            with pinned(work, facts):
                after = work.say(update)
        except Refused:
            self.count["refused"] += 1
            assert work.document == before
            assert not self.due(update, facts, known), f"{update} was refused, and everything was there"
            return
        assert known or isinstance(update, u.Begun), (
            f"{update} was accepted on a trace that is not this file's"
        )
        self.judge(update, facts, before, after)
        self.story = self.story.after(update, after)

    def due(self, update: u.Update, facts: Facts, known: bool) -> bool:
        """Whether this is a PASS that may not be refused: all that it needs is there."""
        if not isinstance(update, u.Resulted) or update.status is not PASS or not self.story.running:
            return False
        return known and bool(update.target.GOAL) and is_proven(self.story, facts, update.changed)

    def judge(self, update: u.Update, facts: Facts, before: Document, after: Document) -> None:
        assert impossible(after) == ()
        status = after.CURRENT_STEP.STEP_STATUS
        if status is PASS and before.CURRENT_STEP.STEP_STATUS is not PASS:
            assert isinstance(update, u.Resulted)
            assert self.due(update, facts, True), "a PASS without its proofs"
        if isinstance(update, u.StepBegun):
            self.judge_begun(update, before)
        self.given = after.RESUME.RESUME_TOKEN
        self.count[f"{type(update).__name__} {status if isinstance(update, u.Resulted) else ''}".strip()] += 1

    def judge_begun(self, update: u.StepBegun, before: Document) -> None:
        assert not self.story.running
        if not self.story.step:
            return
        assert update.signal in ("", "го")
        assert update.token in ("", self.given)
        assert update.signal or update.token
        passed = before.CURRENT_STEP.STEP_STATUS is PASS
        assert passed or all(" => " in one for one in before.RESUME.RESUME_REQUIREMENTS)

    def say_by_hand(self, update: u.Update) -> None:
        """Somebody writes what suits them into the file, then says something: nothing is taken."""
        forged = by_hand(self.work.document, self.chance)
        if forged == self.work.document:
            return
        lacking = self.work.forge(forged, update)
        assert lacking or forged.CURRENT_STEP.STEP_STATUS is not PASS, "a PASS by hand that lacks nothing"
        self.count["by hand"] += 1


class pinned:  # noqa: N801 - reads as a sentence: with pinned(work, facts)
    """The work's next update is decided with exactly these facts."""

    def __init__(self, work: Work, facts: Facts) -> None:
        self.work, self.facts = work, facts

    def __enter__(self) -> None:
        self.work.facts = lambda *_, **__: self.facts  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        del self.work.facts


def by_hand(document: Document, chance: random.Random) -> Document:
    """What people write: an entry that never ran, a friendlier ROUTING, a PASS."""
    ledgers, step = document.LEDGERS, document.CURRENT_STEP
    entry = RoleEntry(role="A", status=Ran.RAN)
    others = tuple(one for one in ledgers.ROLE_LEDGER if one.role != "A")
    passed = replace(
        document,
        CURRENT_STEP=replace(step, STEP_ID=step.STEP_ID or "1", STEP_GOAL="g", STEP_STATUS=PASS),
        LAST_RESULT=LastResult(
            STATUS=ResultStatus.PASS, VAL_REPORT_REF=read_off(document).outputs.get(VAL_REPORT, "")
        ),
        RESUME=Resume(
            RESUME_ALLOWED=True,
            RESUME_TOKEN=bind("x", document.SESSION.SESSION_ID, step.STEP_ID or "1"),
            RESUME_TARGET=NEXT,
        ),
    )
    return chance.choice(
        [
            replace(document, LEDGERS=replace(ledgers, ROLE_LEDGER=(entry, *others))),
            replace(document, ROUTING=Routing()),
            passed,
        ]
    )


__all__ = ["PASS", "ROUTINGS", "Player", "replace"]
