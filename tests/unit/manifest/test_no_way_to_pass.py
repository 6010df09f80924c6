"""No sequence of updates reaches PASS without its proofs, whoever plays."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from itertools import product

import msgspec
import pytest

from rspp.manifest import updates as u
from rspp.manifest.document import (
    VAL_REPORT,
    Document,
    Ran,
    Routing,
    StepStatus,
    ValCheck,
    ValReport,
)
from rspp.manifest.refused import Refused
from rspp.manifest.rules import decide
from rspp.manifest.tokens import bind
from rspp.manifest.world import Facts
from tests.unit.manifest.oracle import Story, is_proven
from tests.unit.manifest.player import PASS, Player
from tests.unit.manifest.work import NEXT, Work


def played(seeds: range, moves: int) -> Counter[str]:
    count: Counter[str] = Counter()
    for seed in seeds:
        try:
            count += Player(seed).play(moves)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    return count


def test_no_sequence_of_updates_reaches_pass_without_its_proofs() -> None:
    count = played(range(60), 60)
    assert count["Resulted PASS"] > 60
    assert count["refused"] > 1000
    assert count["by hand"] > 30


@pytest.mark.slow
@pytest.mark.long
def test_no_sequence_of_updates_reaches_pass_without_its_proofs_in_very_many() -> None:
    count = played(range(1_000, 21_000), 80)
    assert count["Resulted PASS"] > 10_000


# --- every short way ------------------------------------------------------------------------------------------------


def test_no_short_way_leads_to_pass_without_its_proofs() -> None:
    """All ways of two steps through a small world: each state once, and in each of them every update, in every weather."""
    start = Work()
    start.say(u.Begun(session="work-1"))
    files, refs = small_world()
    updates = small_updates(refs)
    first = (start.document, Story(session="work-1"))
    waiting = deque([first])  # bounded: each state once, and there are few
    seen = {key(*waiting[0])}
    passes = unproven = 0
    while waiting:
        document, story = waiting.popleft()
        for update, lost in product(updates, ("", "val1.json")):
            facts = small_facts(document, {path: files[path] for path in files if path != lost}, update)
            try:
                after = decide(document, update, facts).document
            except Refused:
                unproven += isinstance(update, u.Resulted) and update.status is PASS
                continue
            if after.CURRENT_STEP.STEP_STATUS is PASS:
                passes += 1
                assert isinstance(update, u.Resulted)
                assert is_proven(story, facts, update.changed), (story, update)
            then = (after, story.after(update, after))
            if int(after.CURRENT_STEP.STEP_ID or 0) <= 2 and key(*then) not in seen:
                seen.add(key(*then))
                waiting.append(then)
    assert passes >= 9
    assert unproven > 500
    assert len(seen) > 300


def key(document: Document, story: Story) -> bytes:
    return msgspec.json.encode((document, story.roles, story.engines, story.outputs))


def small_world() -> tuple[dict[str, bytes], dict[str, str]]:
    work = Work()
    for step in ("1", "2"):
        check = ValCheck(key="V", verdict="pass")
        report = ValReport(session="work-1", step=step, verdict="pass", checks=(check,))
        work.files[f"val{step}.json"] = msgspec.json.encode(report)
    return work.files, {path: work.ref(path) for path in work.files}


def small_updates(refs: Mapping[str, str]) -> list[u.Update]:
    return [
        u.StepBegun(goal="g", signal="го"),
        u.StepBegun(goal="g"),
        u.StepBegun(goal="g", token=bind("chance", "work-1", "1")),
        u.Routed(routing=Routing(REQUIRED_ROLES=("A",), REQUIRED_VAL_KEYS=("V",))),
        *(u.RoleTold(role="A", status=status) for status in (Ran.RAN, Ran.FAILED)),
        *(u.EngineTold(key="V", status=status) for status in (Ran.RAN, Ran.SKIPPED)),
        u.OutputTold(output=VAL_REPORT),
        *(u.OutputTold(output=VAL_REPORT, ref=refs[f"val{step}.json"]) for step in ("1", "2")),
        u.Resulted(status=PASS, target=NEXT),
        u.Resulted(status=StepStatus.FAIL, requirements=("x",)),
        u.RequirementMet(requirement="1", ref=refs["plan.json"]),
    ]


def small_facts(document: Document, files: dict[str, bytes], update: u.Update) -> Facts:
    work = Work()
    work.files, work.document, work.traced = files, document, document
    work.steps = frozenset({document.CURRENT_STEP.STEP_ID})
    return work.facts(update, token="chance", run_id="run", guarded_now={})
