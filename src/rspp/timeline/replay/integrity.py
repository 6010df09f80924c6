"""Is the evidence of a recording enough, and untouched, for its turns to be resolved again? Everything that is not, by name.

A plan is held to its own hash, its hash and seed to the turn's evidence, and the evidence to what must be in it: the six
snapshots, the seed, the merge rule, the ordering markers, and one nondeterministic input for each thing that was decided
outside. Evidence and close stamps are held to the sums that the trace has of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan, SnapshotProvenance
from rspp.kernel.determinism import seed_of
from rspp.kernel.flags import Flag
from rspp.kernel.planner import plan_hash
from rspp.kernel.shapes import sum_of_record
from rspp.timeline.recording import Recording

TAMPERED: Final = "plan_tampered"
EVIDENCE_TAMPERED: Final = "evidence_tampered"
PLAN_MISSING: Final = "plan_missing"
SNAPSHOT_MISSING: Final = "snapshot_missing"
INCOMPLETE: Final = "determinism_context_incomplete"
PROBLEMS_MAX: Final = 1_000
# Evidence that is not what it was: nothing that is made from it could be trusted. (What is only incomplete is told.)
REFUSED: Final = frozenset({TAMPERED, PLAN_MISSING, SNAPSHOT_MISSING, EVIDENCE_TAMPERED})


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one turn's evidence."""

    code: str
    turn: str
    message: str


def problems_of(recording: Recording) -> list[Problem]:
    """Everything that keeps a replay from trusting this recording; at most `PROBLEMS_MAX`."""
    found: list[Problem] = []
    for problem in _problems(recording):
        found.append(problem)
        if len(found) >= PROBLEMS_MAX:
            break
    return found


def checked(recording: Recording) -> list[Problem]:
    """What is wrong with the evidence; raises MisuseError if it is not what it was, or not enough to resolve plans from."""
    problems = problems_of(recording)
    for problem in problems:
        if problem.code in REFUSED:
            raise MisuseError(problem.code, f"turn {problem.turn}: {problem.message}")
    return problems


def _problems(recording: Recording) -> Iterator[Problem]:
    every_call = Flag.OUTSIDE_DECISIONS_LISTED in (recording.head.request.flags or ())
    for plan in recording.plans.values():
        for code, message in _plan(plan):
            yield Problem(code, plan.turn_id, message)
    for evidence in recording.evidence.values():
        its_plan = recording.plans.get(evidence.turn_id)
        for code, message in _evidence(evidence, its_plan, every_call=every_call):
            yield Problem(code, evidence.turn_id, message)
    yield from _sums(recording)
    # A plan may have been cut off at the end of a recording that is torn; a turn without one was never replayable.
    recorded = {item.turn for item in recording.items if item.what == "record" and item.name == "plan"}
    for turn in sorted(str(turn) for turn in recorded if turn not in recording.plans):
        yield Problem(PLAN_MISSING, turn, "the trace has its plan's hash, and the plan is not here")


def _sums(recording: Recording) -> Iterator[Problem]:
    """Evidence that is another than the kernel asked to be stored."""
    for item in recording.items:
        record_id = str(item.facts.get("record"))
        stored: TurnEvidence | CloseStamp | None = None
        if item.what == "store_evidence":
            stored = recording.evidence.get(record_id)
        elif item.what == "store_close":
            stored = recording.stamps.get(record_id)
        if stored is not None and item.facts.get("sum") != sum_of_record(stored):
            what = "evidence" if item.what == "store_evidence" else "close stamp"
            yield Problem(
                EVIDENCE_TAMPERED, str(item.turn), f"its {what} is not the one that the trace tells of"
            )


def _plan(plan: ResolvedTurnPlan) -> Iterator[tuple[str, str]]:
    computed = plan_hash(plan)
    if computed != plan.plan_hash:
        yield TAMPERED, f"the plan says that its hash is {plan.plan_hash[:16]}, and it is {computed[:16]}"
    elif plan.determinism.seed != seed_of(plan.plan_hash, plan.authority_epoch):
        yield TAMPERED, "the plan's seed does not follow from its hash and epoch"
    yield from _snapshots(plan.snapshot_provenance)
    yield from _context(
        plan.determinism.seed,
        plan.determinism.merge_rule_id,
        plan.determinism.merge_rule_version,
        plan.determinism.ordering_markers,
    )


def _evidence(
    evidence: TurnEvidence, plan: ResolvedTurnPlan | None, *, every_call: bool
) -> Iterator[tuple[str, str]]:
    if plan is None:
        yield PLAN_MISSING, f"there is no plan with hash {evidence.plan_hash[:16]}"
    elif plan.plan_hash != evidence.plan_hash:
        yield (
            TAMPERED,
            f"the evidence was given for plan {evidence.plan_hash[:16]}, and {plan.plan_hash[:16]} is here",
        )
    elif evidence.determinism_seed is not None and evidence.determinism_seed != plan.determinism.seed:
        yield TAMPERED, "the evidence has another seed than the plan"
    yield from _snapshots(evidence.snapshot_provenance)
    yield from _context(
        evidence.determinism_seed,
        evidence.merge_rule_id,
        evidence.merge_rule_version,
        evidence.ordering_markers,
    )
    noted = [one.input_key for one in evidence.nondeterministic_inputs]
    if len(set(noted)) != len(noted):
        yield INCOMPLETE, "a nondeterministic input is listed twice"
    if plan is not None:
        known = set(noted)
        for outcome in evidence.invocation_outcomes:
            due = every_call or outcome.provider in plan.provider_bindings.get(outcome.modality, ())
            if due and outcome.provider_invocation_id not in known:
                yield (
                    INCOMPLETE,
                    f"the call {outcome.provider_invocation_id} is no listed nondeterministic input",
                )


def _snapshots(provenance: SnapshotProvenance | None) -> Iterator[tuple[str, str]]:
    if provenance is None:
        yield SNAPSHOT_MISSING, "it names no snapshot at all"
        return
    for name, value in msgspec.structs.asdict(provenance).items():
        if not value:
            yield SNAPSHOT_MISSING, f"it does not name its {name}"


def _context(
    seed: int | None, rule: str, version: str, markers: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    if seed is None:
        yield INCOMPLETE, "there is no seed"
    if not rule or not version:
        yield INCOMPLETE, "the merge rule has no name or no version"
    if not markers or len(set(markers)) != len(markers):
        yield INCOMPLETE, "there are no ordering markers, or one of them twice"
