"""One planted difference is one finding, of its class, at its place."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS
from rspp.kernel.trace import Item, Run
from rspp.nodes import factories
from rspp.sim.mutants import MUTANTS, planted
from rspp.timeline.diff import DivergenceClass, Report, Tolerance, compare
from rspp.timeline.diff.findings import FINDINGS_MAX
from rspp.timeline.diff.sources import recorded
from rspp.timeline.diff.sources import replayed as replayed_by_code
from rspp.timeline.story import Story, told
from tests.unit.timeline.calls import replayed, simulated
from tests.unit.timeline.diff.planted import altered, found, replace, story, without

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

MUTANT = {mutant.name: mutant for mutant in MUTANTS}


def classes(report: Report) -> list[str]:
    return [one.kind.removesuffix("_DIVERGENCE").lower() for one in report.divergences]


@pytest.mark.parametrize("session", range(8))
def test_a_recording_and_its_replay_do_not_differ(session: int) -> None:
    recording = simulated(5, session, "all")
    report = compare(told(recording), replayed(recording))
    assert (report.divergences, report.ok, report.apart_most_ms) == ([], True, 0)


def test_the_recorded_story_has_the_words_that_a_replay_proves_and_no_others() -> None:
    recording = simulated(7, 0)
    assert recorded(recording, factories()).said == replayed_by_code(recording, factories()).said != []
    with planted(MUTANT["never_closes"]):
        assert recorded(recording, factories()).said == []


def provider(one: Story) -> Story:
    return altered(one, found(one, "invoke", "llm", 1), {"provider": "llm-b"})


def plan(one: Story) -> Story:
    return altered(one, found(one, "record", "plan", 1), {"plan_hash": "f" * 64})


def ending(one: Story) -> Story:
    return altered(one, found(one, "store_evidence", "commit", 1), name="abort")


def epoch(one: Story) -> Story:
    items = [
        replace(item, epoch=8) if item.epoch is not None and n > 60 else item
        for n, item in enumerate(one.items)
    ]
    return replace(one, items=items, digest=None)


def late(one: Story) -> Story:
    return altered(one, found(one, "signal", "playback_completed", 0), later_ns=200 * NS_PER_MS)


def order(one: Story) -> Story:
    first, second = found(one, "signal", "output_accepted"), found(one, "signal", "playback_started")
    items = list(one.items)
    items[first], items[second] = items[second], items[first]
    return replace(one, items=items, digest=None)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (provider, "provider_choice"),
        (plan, "plan"),
        (epoch, "authority"),
        (late, "timing"),
        (order, "ordering"),
    ],
)
def test_one_change_of_each_class_is_one_divergence_of_that_class(
    plant: Callable[[Story], Story], kind: str
) -> None:
    report = compare(story(), plant(story()))
    assert classes(report) == [kind], report.divergences
    assert not report.ok
    place = report.divergences[0].expected_position
    assert place is not None
    assert place.line


def test_another_ending_of_a_turn_is_told_of_that_turn_with_its_line() -> None:
    first, *rest = compare(story(), ending(story())).divergences
    assert (first.kind, first.scope) == (DivergenceClass.OUTCOME, "turn:s0/turn-2")
    assert first.expected_position is not None
    assert "store_evidence commit" in first.expected_position.line
    assert all(one.root == first.number for one in rest)


@pytest.mark.parametrize("number", [0, 5, 17, 40, 90, -1])
def test_one_item_less_or_more_is_one_divergence_although_all_sequences_after_it_shift(number: int) -> None:
    one = story()
    number %= len(one.items)
    items = [replace(item, seq=item.seq + 1) if item.seq else item for item in one.items[number + 1 :]]
    other = replace(one, items=[*one.items[:number], *items], digest=None)
    gone, new = compare(story(), other), compare(other, story())
    for report, missing in ((gone, True), (new, False)):
        assert report.total == 1, report.divergences
        only = report.divergences[0]
        place = only.expected_position if missing else only.got_position
        assert place is not None
        assert place.item == number
        assert (only.got if missing else only.expected) is None


def test_ids_that_shift_with_an_insertion_do_not_count_and_one_that_means_another_call_does() -> None:
    one = story()

    def renamed(item: Item, old: str, new: str) -> Item:
        facts = msgspec.json.decode(msgspec.json.encode(item.facts).replace(old.encode(), new.encode()))
        return replace(item, facts=facts)

    call = one.items[found(one, "invoke", "tts")].facts["call"]
    number = call.split("-")[-1].split("/")[0]
    shifted = call.replace(f"-{number}/", "-99999/")
    assert call != shifted
    other = replace(one, items=[renamed(item, call, shifted) for item in one.items], digest=None)
    assert compare(story(), other).total == 0

    ended = [n for n, item in enumerate(one.items) if item.facts.get("call_id") == call]
    second = one.items[found(one, "invoke", "tts", 1)].facts["call"]
    wrong = altered(one, ended[0], {"call_id": second})
    assert compare(story(), wrong).total >= 1


def test_a_counter_that_skips_without_an_insertion_is_told_once() -> None:
    one = story()
    items = [
        replace(item, facts={**item.facts, "revision": item.facts["revision"] + 1})
        if item.what == "send" and item.facts.get("revision", 0) > 3
        else item
        for item in one.items
    ]
    report = compare(story(), replace(one, items=items, digest=None))
    assert (report.total, report.divergences[0].field) == (1, "revision")


def test_a_text_that_differs_is_told_by_its_words_and_what_follows_of_it_names_it() -> None:
    one = story()
    said = list(one.said)
    place = next(n for n, text in enumerate(said) if text.role == "assistant")
    said[place] = replace(said[place], text=said[place].text[::-1])
    only = compare(story(), replace(one, said=said, digest=None)).divergences
    assert [(first.field, first.expected, first.got) for first in only] == [
        ("text", one.said[place].text, one.said[place].text[::-1])
    ]


def test_a_delay_that_goes_on_is_told_once_and_one_inside_the_tolerance_never() -> None:
    one = story()
    turn = "s0/turn-2"

    def later(ms: int) -> Story:
        items = [
            replace(item, at=item.at + ms * NS_PER_MS) if item.turn == turn else item for item in one.items
        ]
        runs = [
            replace(run, at=run.at + ms * NS_PER_MS, last_at=run.last_at + ms * NS_PER_MS)
            if run.turn == turn
            else run
            for run in one.runs
        ]
        return replace(one, items=items, runs=runs, evidence={}, digest=None)

    before = replace(story(), evidence={})
    slow = compare(before, later(300))
    assert classes(slow) == ["timing"], slow.divergences
    assert (slow.divergences[0].diff_ms, slow.divergences[0].scope) == (300.0, f"turn:{turn}")
    inside = compare(before, later(14))
    assert (inside.total, inside.apart_most_ms, inside.ok) == (0, 14.0, True)
    assert compare(before, later(14), Tolerance(timing_ms=10)).total == 1


def test_an_extra_turn_is_one_extra_turn_and_the_turns_after_it_stay_what_they_are() -> None:
    whole = replace(story(), evidence={}, plans={}, digest=None)
    gone = "s0/turn-2"
    items = [item for item in whole.items if item.turn != gone and gone not in str(item.facts)]
    names = {"s0/turn-3": gone}

    def renamed(item: Item) -> Item:
        facts = msgspec.json.decode(msgspec.json.encode(item.facts).replace(b"s0/turn-3", gone.encode()))
        return replace(item, turn=names.get(item.turn or "", item.turn), facts=facts)

    runs = [replace(run, turn=names.get(run.turn or "", run.turn)) for run in whole.runs if run.turn != gone]
    other = replace(whole, items=[renamed(item) for item in items], runs=runs, said=[])
    report = compare(replace(whole, said=[]), other)
    assert [
        (pair.expected and pair.expected.turn_id, pair.got and pair.got.turn_id) for pair in report.turns
    ] == [
        ("s0/turn-1", "s0/turn-1"),
        ("s0/turn-2", None),
        ("s0/turn-3", "s0/turn-2"),
    ]
    roots = [one for one in report.divergences if one.root is None]
    assert {one.scope for one in roots} <= {f"turn:{gone}", "session:s0"}, [
        (o.scope, o.message, o.field, o.expected, o.got) for o in roots
    ]
    assert report.roots <= 6, roots


def test_two_sessions_are_compared_by_what_they_did_and_not_by_their_names_or_the_time_of_day() -> None:
    one = story()

    def elsewhere(item: Item) -> Item:
        facts = msgspec.json.decode(msgspec.json.encode(item.facts).replace(b"s0", b"other-9"))
        turn = item.turn.replace("s0", "other-9") if item.turn else None
        epoch = item.epoch + 3 if item.epoch is not None else None
        facts = {name: value + 3 if name == "authority_epoch" else value for name, value in facts.items()}
        return replace(item, facts=facts, turn=turn, at=item.at + 10**12, epoch=epoch)

    def moved(run: Run) -> Run:
        turn = f"other-9/{(run.turn or '').split('/')[1]}"
        return replace(run, turn=turn, at=run.at + 10**12, last_at=run.last_at + 10**12)

    other = replace(
        one,
        session_id="other-9",
        began_at=one.began_at + 10**12,
        items=[elsewhere(item) for item in one.items],
        runs=[moved(run) for run in one.runs],
        said=[],
        evidence={},
        plans={},
    )
    report = compare(replace(one, said=[]), other)
    assert report.divergences == []
    assert not report.same_clock


def test_frames_that_no_item_shows_are_found_by_the_digest() -> None:
    other = story()
    report = compare(story(), replace(other, digest="0" * 64))
    assert [(one.kind, one.scope, one.field) for one in report.divergences] == [
        (DivergenceClass.OUTCOME, "trace", "digest")
    ]


def test_more_sound_than_was_sent_is_found_although_no_item_differs() -> None:
    one = story()
    runs = [*one.runs[:-1], replace(one.runs[-1], samples=one.runs[-1].samples + 320)]
    report = compare(story(), replace(one, runs=runs))
    assert [one.field for one in report.divergences] == ["samples_sent"]


def test_evidence_speaks_where_items_do_not() -> None:
    one = story()
    record, evidence = next(iter(one.evidence.items()))
    wrong = replace(one, evidence={**one.evidence, record: replace(evidence, plan_hash="unknown")})
    assert classes(compare(story(), wrong)) == ["plan"]
    wrong = replace(one, evidence={**one.evidence, record: replace(evidence, lease_epoch_at_terminal=99)})
    assert classes(compare(story(), wrong)) == ["authority"]


def test_a_limit_on_a_calls_latency_fails_where_it_is_set_and_only_there() -> None:
    one = story()
    record, evidence = next((key, value) for key, value in one.evidence.items() if value.invocation_outcomes)
    first = evidence.invocation_outcomes[0]
    slower = replace(first, final_attempt_latency_ms=first.final_attempt_latency_ms + 25)
    changed = replace(evidence, invocation_outcomes=(slower, *evidence.invocation_outcomes[1:]))
    other = replace(one, evidence={**one.evidence, record: changed})
    assert compare(story(), other).total == 0
    report = compare(story(), other, Tolerance(timing_ms=1000, invocation_latency_final_ms=20))
    assert report.divergences[0].scope.startswith("invocation_latency_final:")
    assert not report.ok


@pytest.mark.parametrize(
    ("name", "faults", "session", "kind"),
    [
        ("opens_without_admit", "all", 0, "outcome"),
        ("plans_under_older_epoch", "all", 0, "plan"),
        ("never_closes", "all", 0, "outcome"),
        ("lanes_reversed", "all", 0, "ordering"),
        ("telemetry_before_control", "all", 0, "ordering"),
        ("fence_off_by_one", "all", 0, "outcome"),
        ("stale_epoch_accepted", "forged_audio", 1, "authority"),
        ("plan_changes_in_turn", "F1", 3, "provider_choice"),
        ("plan_hash_untrue", "all", 0, "plan"),
        ("stuck_endpointing", "end_of_turn_fails", 0, "outcome"),
        ("cancel_spares_playback", "all", 0, "outcome"),
    ],
)
def test_a_bug_planted_in_the_kernel_is_found_with_its_class_its_place_and_its_line(
    name: str, faults: str, session: int, kind: str
) -> None:
    recording = simulated(5, session, faults)
    with planted(MUTANT[name]):
        report = compare(told(recording), replayed(recording))
    assert not report.ok
    first = report.divergences[0]
    assert classes(report)[0] == kind, first
    place = first.expected_position or first.got_position
    assert place is not None
    assert place.step > 0
    assert place.line


@pytest.mark.slow
def test_an_hours_sessions_are_compared_in_seconds_and_findings_are_bounded() -> None:
    one = replace(story(), evidence={}, plans={}, said=[], digest=None)
    span, steps = one.ended_at - one.began_at + 10**9, one.through

    def copy(item: Item, k: int) -> Item:
        number = int(item.turn.split("-")[1]) + 3 * k if item.turn else 0
        turn = f"s0/turn-{number}" if item.turn else None
        return replace(item, step=item.step + steps * k, at=item.at + span * k, turn=turn)

    items = [copy(item, k) for k in range(66) for item in one.items]
    hour = replace(one, items=items, inputs={}, runs=[])
    began = time.process_time()
    assert compare(hour, replace(hour, items=list(items))).total == 0
    wild = [
        replace(item, facts={**item.facts, "nothing": n}, epoch=None, at=item.at + n * 10**9)
        for n, item in enumerate(items)
    ]
    report = compare(hour, replace(hour, items=wild))
    assert time.process_time() - began < 10
    assert len(report.divergences) == FINDINGS_MAX < report.total
    assert report.verdict.failures[-1].why.endswith("only counted")


def test_nothing_against_nothing_is_nothing() -> None:
    empty = replace(story(), items=[], runs=[], evidence={}, plans={}, said=[], digest=None, inputs={})
    assert compare(empty, empty).ok
    assert compare(story(), empty).total > 0
    assert without(story(), 0).items != story().items
