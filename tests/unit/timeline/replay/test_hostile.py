"""A recording may come from anywhere: what contradicts itself is refused by name, and costs neither time nor memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rspp.contract.codec import CodecError
from rspp.contract.errors import MisuseError
from rspp.host.ports import Stepped
from rspp.nodes import factories
from rspp.timeline import records as r
from rspp.timeline.recording import INPUTS_MAX, assemble
from rspp.timeline.replay.compare import Comparison
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.integrity import problems_of
from rspp.timeline.replay.modes import Mode, Outputs
from rspp.timeline.replay.recorded_calls import calls_of
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.replay.altered import Change, changed, read, replace, with_items

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def compared(data: bytes) -> Comparison:
    run = ExactRun(read(data), factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    return run.comparison


def only(kind: type, change: Callable[..., r.AnyRecord | None]) -> Change:
    """Changes the first record of a kind."""
    done: list[bool] = []

    def alter(record: r.AnyRecord) -> r.AnyRecord | None:
        if done or not isinstance(record, kind):
            return record
        done.append(True)
        return change(record)

    return alter


def audio(size: int, count: int) -> Change:
    def change(record: r.Inputs) -> r.Inputs:
        told = next(one for one in record.entries if isinstance(one, list) and len(one) == 3)
        entries = [[20_000_000, told[1], size - number] for number in range(count)]
        return replace(record, entries=entries)

    return only(r.Inputs, change)


def spoken(**changes: object) -> Change:
    def change(record: r.Words) -> r.Words:
        first, *rest = record.texts
        return replace(record, texts=[replace(first, **changes), *rest])

    return only(r.Words, change)


REFUSED: dict[str, Change] = {
    "inputs before the first": only(r.Inputs, lambda one: replace(one, first=0)),
    "inputs far away": only(r.Inputs, lambda one: replace(one, first=2**64 - 1)),
    "more inputs than anybody has": only(r.Inputs, lambda one: replace(one, entries=[-1] * (INPUTS_MAX + 1))),
    "a time that nobody lives to see": only(r.Inputs, lambda one: replace(one, at=2**63)),
    "silence that fills the memory": audio(r.RECORD_BYTES_MAX, 64),
    "audio of fewer bytes than none": audio(-1, 1),
    "a text that is longer than its stand-in": spoken(text="and very much more than was ever said"),
    "a masked place outside its text": spoken(masked=[r.Span(-1, 10**9, "card")]),
    "a text for audio": spoken(step=2),
    "a trace before the beginning": only(
        r.Trace, lambda one: replace(one, items=[replace(one.items[0], step=-1)])
    ),
    "a trace out of time": only(
        r.Trace, lambda one: replace(one, items=[replace(one.items[0], at=2**64 - 1)])
    ),
    "another tenant's head": only(r.Head, lambda one: replace(one, tenant_id="another")),
    "another session's head": only(r.Head, lambda one: replace(one, session_id="another")),
    "a pipeline with edges to nowhere": only(
        r.Head, lambda one: replace(one, graph=replace(one.graph, nodes=one.graph.nodes[:2]))
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_contradicts_itself_is_refused(what: str) -> None:
    data = changed(simulated_bytes(), REFUSED[what])
    with pytest.raises(CodecError):
        read(data)


@pytest.mark.parametrize(
    "sound",
    [
        r.Sound(steps=[1, 2], sizes=[640], data=bytes(640)),
        r.Sound(steps=[1, 2], sizes=[640, 640], data=bytes(640)),
        r.Sound(steps=[1, 2], sizes=[-640, 1280], data=bytes(640)),
        r.Sound(steps=[3, 4], sizes=[10, 10], data=bytes(20)),
        r.Sound(steps=[], sizes=[], data=b"", masked=[10**12]),
    ],
)
def test_sound_that_does_not_fit_is_refused(sound: r.Sound) -> None:
    records = r.unframe(simulated_bytes()).records
    with pytest.raises(CodecError):
        assemble([r.Frames([*records, sound], torn=False, end=0, unknown=0)])


def test_a_piece_that_is_read_twice_counts_once() -> None:
    data = simulated_bytes()
    records = [one for one in r.unframe(data).records for _ in range(2)]
    twice = b"".join(map(r.frame, records))
    assert compared(data + data).count == compared(twice).count == 0


def test_a_second_text_for_one_input_does_not_take_the_place_of_the_first() -> None:
    data = simulated_bytes()
    words = next(one for one in r.unframe(data).records if isinstance(one, r.Words))
    other = r.Words(texts=[replace(one, text="z" * len(one.text)) for one in words.texts])
    assert compared(data + r.frame(other)).count == 0


def test_a_text_of_another_shape_than_its_stand_in_counts_as_withheld() -> None:
    data = changed(simulated_bytes(), only(r.Words, _shapeless))
    recording = read(data)
    assert recording.withheld_texts
    assert compared(data).count == 0


def _shapeless(record: r.Words) -> r.Words:
    return replace(record, texts=[replace(one, text="1" * len(one.text)) for one in record.texts])


def test_steps_of_a_node_that_does_not_exist_are_told() -> None:
    records = r.unframe(simulated_bytes()).records
    strange = r.Steps(steps=[r.NodeStep(1, 1, Stepped("nobody", "on_event", (), (), None))])
    data = b"".join(map(r.frame, [*records[:-1], strange, records[-1]]))
    first = compared(data).first
    assert first is not None
    assert "'nobody'" in first.message


def test_an_end_that_comes_before_the_last_input_is_told() -> None:
    first = compared(changed(simulated_bytes(), only(r.End, lambda one: replace(one, steps=100)))).first
    assert first is not None
    assert "there were 100 inputs" in first.message


def test_a_whole_recording_without_its_digest_is_told() -> None:
    first = compared(changed(simulated_bytes(), only(r.End, lambda one: replace(one, digest=None)))).first
    assert first is not None
    assert "no digest" in first.message


def test_a_call_that_is_told_without_its_facts_is_refused_where_it_is_asked_for() -> None:
    data = with_items(simulated_bytes(), lambda one: replace(one, facts={}))
    with pytest.raises(CodecError):
        calls_of(read(data), 10**9)


def test_very_many_items_at_one_step_are_told_without_hanging() -> None:
    data = simulated_bytes()
    item = read(data).items[0]
    many = r.Trace(through=2, items=[replace(item, step=2, seq=number) for number in range(10_000)])
    records = r.unframe(data).records
    at = next(n for n, one in enumerate(records) if isinstance(one, r.Trace))
    crowded = b"".join(map(r.frame, [*records[:at], many, *records[at:]]))
    assert compared(crowded).count >= 10_000


def test_evidence_and_stamps_that_are_not_what_the_kernel_stored_are_known() -> None:
    for change in (
        only(r.Evidence, lambda one: replace(one, evidence=replace(one.evidence, turn_open_at=1))),
        only(r.Close, lambda one: replace(one, stamp=replace(one.stamp, turn_close_at=1))),
    ):
        found = problems_of(read(changed(simulated_bytes(), change)))
        assert {one.code for one in found} == {"evidence_tampered"}


def test_a_recording_without_any_input_is_no_hang_and_no_traceback() -> None:
    data = changed(simulated_bytes(), lambda one: None if isinstance(one, r.Inputs) else one)
    with pytest.raises(MisuseError, match="replay_inputs_missing"):
        compared(data)
