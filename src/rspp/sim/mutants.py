"""Bugs planted on purpose: a checker that has never caught anything is not known to work.

Each mutant replaces one method of the kernel by one with a single fault in it. The simulator runs sessions until its
checkers object; a mutant that nobody catches is a hole in the checkers, and the clean kernel must pass the same
sessions. Planting is process-wide while it lasts, so mutants run one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from rspp.contract.signals import SignalName
from rspp.kernel import turns as turns_module
from rspp.kernel.authority import Authority
from rspp.kernel.buffers import EdgeQueue
from rspp.kernel.call_book import CallBook
from rspp.kernel.cancelling import Cancelling
from rspp.kernel.commands import Commands
from rspp.kernel.desk import Desk
from rspp.kernel.egress import Egress
from rspp.kernel.gateway import Gateway
from rspp.kernel.graph import Graph
from rspp.kernel.identity import KeyBook
from rspp.kernel.lanes import Outbox
from rspp.kernel.levels import RecordingLevels
from rspp.kernel.placement import Placement
from rspp.kernel.playout import Playout
from rspp.kernel.prelude import Prelude
from rspp.kernel.recovery import Recovery
from rspp.kernel.session import SessionKernel
from rspp.kernel.turn_taking import TurnTaking
from rspp.kernel.turns import Turns
from rspp.sim import planted as bug
from rspp.sim.planted import Method
from rspp.sim.scenario import draw
from rspp.sim.session import run_session


class Mutant(msgspec.Struct, frozen=True):
    """One planted bug. `write` gets the true method and returns the faulty one."""

    name: str
    inv: str
    meaning: str
    target: Any
    method: str
    write: Callable[[Method], Any]
    faults: str = "all"  # which faults its sessions are given: those that lead where the bug is


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The kernel has this bug while the block lasts."""
    original = mutant.target.__dict__[mutant.method]
    setattr(mutant.target, mutant.method, mutant.write(original))
    try:
        yield
    finally:
        setattr(mutant.target, mutant.method, original)


MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "opens_without_gates",
        "INV-01",
        "no gate is asked",
        Turns,
        "_gates",
        bug.answers(None),
        faults="snapshot_lost,snapshot_stale,capacity_reject",
    ),
    Mutant(
        "opens_without_admit",
        "INV-01",
        "the admission is not recorded",
        Desk,
        "decide",
        bug.decide_without_admit,
    ),
    Mutant(
        "plans_under_older_epoch",
        "INV-01",
        "a plan of yesterday's epoch",
        turns_module,
        "build",
        bug.plan_of_older_epoch,
    ),
    Mutant(
        "commits_while_working",
        "INV-02",
        "calls still run at commit",
        CallBook,
        "turn_busy",
        bug.answers(False),
    ),
    Mutant(
        "commits_unsent",
        "INV-02",
        "audio still waits at commit",
        SessionKernel,
        "generated",
        bug.generated_is_not_busy,
    ),
    Mutant(
        "aborts_what_it_refused",
        "INV-03",
        "a refusal gets a terminal",
        Turns,
        "_refuse",
        bug.after(bug.abort_what_was_refused),
    ),
    Mutant(
        "second_terminal",
        "INV-04",
        "abort after the terminal",
        Turns,
        "_end",
        bug.after(bug.second_terminal),
    ),
    Mutant(
        "never_closes",
        "INV-04",
        "close is not announced",
        Desk,
        "announce",
        bug.without_signal(SignalName.CLOSE),
    ),
    Mutant(
        "forgets_the_cancel",
        "INV-04",
        "a cancelled turn may commit",
        Turns,
        "cancel",
        bug.cancel_without_condition,
    ),
    Mutant("lanes_reversed", "INV-05", "the last comes first", Outbox, "drain", bug.reversed_lanes),
    Mutant("data_before_control", "INV-05", "audio overtakes control", Outbox, "drain", bug.data_first),
    Mutant(
        "telemetry_before_control", "INV-05", "samples overtake control", Outbox, "drain", bug.telemetry_first
    ),
    Mutant(
        "unbounded_edge",
        "INV-06",
        "a queue takes more than it may",
        EdgeQueue,
        "_full",
        bug.deeper_than_told,
        faults="tts_ignores_throttle,tts_flood",
    ),
    Mutant(
        "late_items_pass",
        "INV-06",
        "an item may be any age",
        EdgeQueue,
        "head",
        bug.head_however_late,
        faults="listener_slow",
    ),
    Mutant(
        "stuck_endpointing",
        "INV-07",
        "a pause has no deadline",
        TurnTaking,
        "_enter",
        bug.after(bug.forgets_the_pause),
        faults="end_of_turn_fails",
    ),
    Mutant(
        "waits_for_silent_provider",
        "INV-07",
        "accepting is enough",
        Recovery,
        "call_due",
        bug.answers(None),
        faults="llm_silent,tts_silent",
    ),
    Mutant(
        "waits_for_evidence",
        "INV-07",
        "the recorder may take forever",
        Turns,
        "evidence_overdue",
        bug.answers(None),
        faults="evidence_never",
    ),
    Mutant(
        "watermark_without_action",
        "INV-08",
        "nobody is told to stop",
        Desk,
        "announce",
        bug.without_signal(SignalName.FLOW_XOFF),
    ),
    Mutant("watermark_storm", "INV-08", "each item is a crossing", EdgeQueue, "_rise", bug.marks_every_item),
    Mutant(
        "drops_without_a_range",
        "INV-08",
        "a loss is not accounted for",
        Graph,
        "_tell",
        bug.lost_without_a_word,
    ),
    Mutant(
        "falls_without_rising",
        "INV-08",
        "a crossing that was none",
        EdgeQueue,
        "_take",
        bug.after(bug.falls_unrisen),
    ),
    Mutant("cancel_spares_calls", "INV-09", "providers go on", Cancelling, "cancel_turn", bug.answers(None)),
    Mutant(
        "grace_without_end",
        "INV-09",
        "who ignores a cancel may",
        Cancelling,
        "grace_due",
        bug.answers(None),
        faults="F3",
    ),
    Mutant(
        "cancel_spares_playback", "INV-09", "the client plays on", Egress, "stop", bug.stops_without_stopping
    ),
    Mutant("fence_off_by_one", "INV-10", "one more frame leaves", Egress, "fence", bug.fence_one_late),
    Mutant(
        "accepts_after_fence",
        "INV-10",
        "late reports are believed",
        Egress,
        "reported",
        bug.believes_every_report,
        faults="late_reports",
    ),
    Mutant(
        "heard_text_longer_than_audio",
        "INV-10",
        "all that was sent was heard",
        Playout,
        "heard_text",
        bug.heard_is_sent,
    ),
    Mutant(
        "stale_epoch_accepted",
        "INV-11",
        "frames of any epoch enter",
        Gateway,
        "audio",
        bug.any_epoch_in,
        faults="forged_audio",
    ),
    Mutant(
        "forged_epoch_believed",
        "INV-11",
        "a higher epoch is taken over",
        Gateway,
        "stale",
        bug.after(bug.believes_forged_epochs),
        faults="forged_audio,forged_text",
    ),
    Mutant(
        "revoked_speaks_on",
        "INV-11",
        "a revocation changes nothing",
        Placement,
        "_lost",
        bug.answers(None),
        faults="lease_revoked",
    ),
    Mutant(
        "expired_speaks_on",
        "INV-11",
        "a lease never runs out",
        Placement,
        "expire",
        bug.answers(None),
        "lease_expires",
    ),
    Mutant(
        "issues_any_epoch",
        "INV-11",
        "an older lease is taken",
        Authority,
        "issue",
        bug.issues_any_epoch,
        faults="stale_lease",
    ),
    Mutant(
        "plan_changes_in_turn",
        "INV-12",
        "a snapshot changes the open turn",
        Commands,
        "snapshot",
        bug.after(bug.replans_in_the_turn),
        faults="F1",
    ),
    Mutant("plan_hash_untrue", "INV-12", "the hash is not the plan's", turns_module, "build", bug.rehashed),
    Mutant(
        "dedupe_window_lost",
        "INV-13",
        "a known key is new again",
        KeyBook,
        "register",
        bug.answers(None),
        faults="all",
    ),
    Mutant(
        "sequence_reused",
        "INV-13",
        "two events of one number",
        Desk,
        "announce",
        bug.after(bug.same_number_again),
    ),
    Mutant(
        "event_of_another_tenant",
        "INV-13",
        "a signal of somebody else",
        Desk,
        "announce",
        bug.belongs_to_another,
    ),
    Mutant(
        "commit_without_evidence",
        "INV-14",
        "the recorder is not waited for",
        Turns,
        "_ask",
        bug.commit_at_once,
    ),
    Mutant(
        "evidence_without_plan",
        "INV-14",
        "a placeholder for the hash",
        turns_module,
        "terminal_record",
        bug.evidence_without_plan,
    ),
    Mutant(
        "evidence_without_cancel",
        "INV-14",
        "the cancel is left out",
        turns_module,
        "terminal_record",
        bug.evidence_without_cancel,
    ),
    Mutant(
        "level_skipped",
        "INV-15",
        "from L2 to L0 at once",
        RecordingLevels,
        "pressed",
        bug.skips_a_level,
        faults="recorder_pressed",
    ),
    Mutant(
        "level_falls_for_nothing",
        "INV-15",
        "no threshold was reached",
        RecordingLevels,
        "pressed",
        bug.falls_for_nothing,
        faults="recorder_pressed",
    ),
    Mutant(
        "judges_model_quality",
        "INV-16",
        "a poor transcript ends a turn",
        Prelude,
        "transcript",
        bug.after(bug.judges_quality),
    ),
)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one mutant."""

    name: str
    inv: str
    caught: bool
    checker: str | None
    sessions: int


# Runs one session, given its number and its faults; gives (INV id, checker) of each violation.
Run = Callable[[int, str], list[tuple[str, str]]]


def hunt(mutant: Mutant, run: Run, sessions_max: int) -> Outcome:
    """Run sessions with the bug planted until a checker of the broken invariant objects: any other does not count."""
    with planted(mutant):
        for number in range(sessions_max):
            for inv, checker in run(number, mutant.faults):
                if inv == mutant.inv:
                    return Outcome(mutant.name, mutant.inv, caught=True, checker=checker, sessions=number + 1)
    return Outcome(mutant.name, mutant.inv, caught=False, checker=None, sessions=sessions_max)


def hunt_all(seed: int, sessions_max: int, only: str | None = None) -> Iterator[Outcome]:
    """Every mutant, one after the other, over the same sessions."""
    for mutant in MUTANTS:
        if only is None or mutant.name == only:
            yield hunt(mutant, lambda number, faults: violations(seed, number, faults), sessions_max)


def violations(seed: int, number: int, faults: str = "all") -> list[tuple[str, str]]:
    """Run one session; everything that its checkers object to."""
    return [(found.inv, found.checker) for found in run_session(draw(seed, number, faults)).violations]


def clean_violations(seed: int, outcomes: Iterable[Outcome]) -> int:
    """How often the checkers object to the kernel as it is, on the very sessions that the mutants were given."""
    needed: dict[str, int] = {}
    faults = {mutant.name: mutant.faults for mutant in MUTANTS}
    for outcome in outcomes:
        wish = faults[outcome.name]
        needed[wish] = max(needed.get(wish, 0), outcome.sessions)
    return sum(
        len(violations(seed, number, wish)) for wish, count in needed.items() for number in range(count)
    )
