"""Equal inputs give equal seeds, and a seed gives equal draws."""

from __future__ import annotations

import hashlib

import pytest

from rspp.contract.words import CancelScope
from rspp.kernel import effects as fx
from rspp.kernel.determinism import NondeterminismLog, Stream, seed_of
from rspp.kernel.flags import CURRENT, Flag
from rspp.kernel.inputs import ControlReceived, LeaseChanged
from rspp.testing.rig import Rig

FIRST_THREE = [12785155803557834318, 15572125994571096023, 1085529425802099118]


def test_the_seed_is_the_first_eight_bytes_of_the_digest_of_hash_and_epoch() -> None:
    expected = int.from_bytes(hashlib.sha256(b"abc|7").digest()[:8], "big")
    assert seed_of("abc", 7) == expected
    assert seed_of("abc", 8) != expected
    assert seed_of("abd", 7) != expected
    assert 0 <= expected < 1 << 64


def test_a_stream_draws_the_same_numbers_everywhere_and_a_named_one_its_own() -> None:
    assert [Stream(1, "a").integer() for _ in range(2)] == [Stream(1, "a").integer()] * 2
    stream = Stream(1, "a")
    # Written out, so that no version of this code may quietly draw otherwise.
    assert [stream.integer() for _ in range(3)] == FIRST_THREE
    assert Stream(1, "b").integer() != Stream(1, "a").integer()
    assert Stream(2, "a").integer() != Stream(1, "a").integer()


def test_reals_lie_in_their_interval_and_integers_below_their_bound() -> None:
    stream = Stream(42)
    assert all(0.0 <= stream.real() < 1.0 for _ in range(1_000))
    assert {stream.below(3) for _ in range(100)} == {0, 1, 2}
    assert stream.below(1) == 0
    with pytest.raises(ValueError, match="at least 1"):
        stream.below(0)


def test_the_log_keeps_one_entry_a_key_in_order_and_says_when_it_is_full() -> None:
    log = NondeterminismLog()
    for n in range(log.ENTRIES_MAX + 3):
        log.note(f"k{n}", "external_call", "first")
    log.note("k0", "external_call", "second")
    entries = log.entries()
    assert len(entries) == log.ENTRIES_MAX
    assert log.overflow == 3
    assert (entries[0].input_key, entries[0].evidence_ref) == ("k0", "second")
    assert entries[-1].input_key == f"k{log.ENTRIES_MAX - 1}"


def test_a_turns_evidence_has_seed_merge_rule_markers_and_one_entry_for_each_call() -> None:
    """The capturing half of F-150; that a replay refuses an incomplete context is the replay's to show."""
    rig = Rig()
    rig.connect()
    rig.type("hello")
    rig.tokens("One. ", "Two.")
    rig.finish("llm")
    rig.speech(40)
    rig.speech(40)
    rig.advance(1_000)
    evidence = rig.of(fx.StoreEvidence)[-1].evidence
    plan = rig.kernel.turns.closed[-1].plan
    assert evidence.determinism_seed == seed_of(plan.plan_hash, 7)
    assert (evidence.merge_rule_id, evidence.merge_rule_version) == ("default-merge-rule", "v1.0.0")
    assert evidence.ordering_markers == ("runtime_sequence", "event_id")
    calls = {call.call_id: call.provider for call in rig.of(fx.Invoke) if call.turn_id}
    assert len(calls) == 3
    assert {entry.input_key for entry in evidence.nondeterministic_inputs} == set(calls)
    assert {entry.source for entry in evidence.nondeterministic_inputs} == {"external_call"}


def outside(flags: tuple[int, ...] | None) -> list[tuple[str, str]]:
    """The nondeterministic inputs of a turn whose lease is renewed and that an operator cancels."""
    rig = Rig(flags=flags)
    rig.connect()
    rig.type("hello")
    rig.give(LeaseChanged("renewed", 7, expires_at=400_000_000_000))
    rig.give(ControlReceived("cancel", 0, idempotency_key="host/1", scope=CancelScope.TURN))
    rig.advance(1_000)
    evidence = rig.of(fx.StoreEvidence)[-1].evidence
    return [(one.source, one.input_key.partition("/")[0]) for one in evidence.nondeterministic_inputs]


def test_what_was_decided_outside_while_the_turn_lived_is_listed_once_each() -> None:
    assert sorted(outside(None)) == [
        ("external_call", "pvi"),
        ("operator_override", "cancel"),
        ("other", "lease"),
    ]


def test_a_recording_from_before_the_flag_lists_only_its_calls() -> None:
    before = tuple(flag for flag in CURRENT if flag != Flag.OUTSIDE_DECISIONS_LISTED)
    assert outside(before) == [("external_call", "pvi")]
