"""Watchers are told of everything but frames, several as one, and are heard of no more once one has raised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rspp.host.ports import Stepped
from rspp.host.watching import FRAMES, Several, several_steps, watcher_of
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from tests.unit.host.stage import Stage, on_stage


class Notes:
    def __init__(self) -> None:
        self.awaits: type[i.Input] | None = None
        self.inputs: Counter[type] = Counter()
        self.effects: Counter[type] = Counter()
        self.steps: list[str] = []
        self.closed_times = 0

    def took(self, at: int, received: i.Input) -> None:
        self.inputs[type(received)] += 1

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        assert effects
        self.effects.update(map(type, effects))

    def stepped(self, step: Stepped) -> None:
        self.steps.append(step.node_id)

    def closed(self) -> None:
        self.closed_times += 1


def test_each_watcher_is_told_of_all_but_frames_and_of_the_end() -> None:
    one, other = Notes(), Notes()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("close")

    on_stage(scene, watches=[lambda _, __: one, lambda _, __: other, lambda _, __: None])
    assert one.inputs == other.inputs
    assert one.effects == other.effects
    # A frame is told only to who waits for it, which is the meters' and now and then.
    assert sum(one.inputs[kind] for kind in FRAMES) <= 20
    assert {i.CallProduced, i.CallFinished, i.ConnectionChanged} <= set(one.inputs)
    assert one.effects[fx.Feed] > 50
    assert "segmenter" in one.steps
    assert one.steps == other.steps
    assert (one.closed_times, other.closed_times) == (1, 1)


def test_one_alone_is_itself_and_none_is_none() -> None:
    one = Notes()
    assert watcher_of([]) is None
    assert watcher_of([one]) is one
    assert several_steps([]) is None
    assert several_steps([one.stepped]) == one.stepped
    assert isinstance(watcher_of([one, Notes()]), Several)


def test_a_caller_whose_watcher_cannot_be_made_is_let_in_and_watched_by_the_others() -> None:
    other = Notes()

    def watch(request: Any, graph: Any) -> Any:
        raise RuntimeError("a defect of ours")

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert stage.host.blamed == {"watcher:RuntimeError": 1}

    on_stage(scene, watches=[watch, lambda _, __: other])
    assert other.effects
    assert other.closed_times == 1


def test_a_watcher_that_raises_within_a_nodes_step_is_let_go_of_and_the_node_has_not_failed() -> None:
    class Broken(Notes):
        def stepped(self, step: Stepped) -> None:
            super().stepped(step)
            raise RuntimeError("a defect of ours")

    broken = Broken()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert "node_failed" not in caller.names()
        assert stage.host.blamed == {"watcher:RuntimeError": 1}

    on_stage(scene, watches=[lambda _, __: broken])
    assert len(broken.steps) == 1
    assert broken.closed_times == 1
