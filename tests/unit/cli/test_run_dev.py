"""`rspp dev`: a change serves the calls after it, a broken one changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from rspp.adapters.transports.loopback import (
    Caller,
    CallerOutcome,
    Loopback,
    LoopClock,
    Step,
    UntilAnswered,
    ask,
)
from rspp.cli.compose import installed, pipeline_of
from rspp.cli.dev import Reload
from rspp.host.host import Host
from rspp.host.recorder import MemoryRecorder
from rspp.kernel import effects as fx
from rspp.kernel.effects import Effect
from rspp.media.wav import Sound
from rspp.testing.clock import run_virtual
from rspp.testing.scripted.tts import tone

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

SPEC = """
pipeline: desk
version: v1
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: [ANSWER]}
"""
NODE = """
import rspp

class Sign(rspp.AsyncNode):
    declaration = rspp.NodeDeclaration(
        name="sign", version="v1", kind="async",
        inputs={"text": (rspp.EventKind.TEXT,)}, outputs={"text": (rspp.EventKind.TEXT,)},
    )

    async def run(self, call):
        await call.produce(rspp.Text(call.request.event.payload.text + " SIGNATURE", role="assistant", final=True))
"""
WITH_NODE = """
pipeline: desk
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  vad: {type: vad, version: v1}
  end_of_turn: {type: end_of_turn, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  segmenter: {type: segmenter, version: v1}
  sign: {type: custom, implementation: "signing:Sign", version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: [vad.audio, end_of_turn.audio, stt.audio]}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: segmenter.text}
  - {from: segmenter.text, to: sign.text}
  - {from: sign.text, to: tts.text}
  - {from: tts.audio, to: speaker.audio}
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: ["An answer."]}
"""


class Spoken(MemoryRecorder):
    __slots__ = ("texts",)

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Invoke) and effect.modality == "tts" and effect.event is not None:
                self.texts.append(getattr(effect.event.payload, "text", ""))


class Desk:
    """A host with a pipeline file under it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.recorders: list[Spoken] = []

    def write(self, text: str) -> None:
        """With a time of its own: two writes within a clock's tick must not look alike."""
        self.path.write_text(text)
        stamp = self.path.stat().st_mtime_ns + 1_000_000 * (len(text) + len(self.said) + 1)
        os.utime(self.path, ns=(stamp, stamp))

    def run(self, body: Callable[[Desk], Awaitable[None]]) -> None:
        async def main() -> None:
            here = installed()
            pipeline = pipeline_of(self.path, here)
            assert pipeline.graph is not None
            assert pipeline.registry is not None
            self.clock = LoopClock(asyncio.get_running_loop())
            self.host = Host(pipeline.registry, clock=self.clock, recorders=self._recorder)
            self.host.publish(pipeline.graph)
            self.reload = Reload(self.path, here, (), self.said.append)
            await self.host.start()
            self.transport = Loopback(clock=self.clock)
            await self.transport.start(self.host)
            await body(self)
            await self.transport.stop("done")
            await self.host.stop()

        run_virtual(main())

    def _recorder(self, session_id: str) -> Spoken:
        del session_id
        self.recorders.append(Spoken())
        return self.recorders[-1]

    async def call(self, questions: int = 1) -> asyncio.Task[CallerOutcome]:
        question = ask("q", Sound(tone(300, 16_000, 9_000), 16_000))
        steps: list[Step] = [question, UntilAnswered()] * questions
        return await self.transport.place(Caller(steps, self.clock))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path / "desk.yaml")
    made.write(SPEC.replace("ANSWER", "The old answer."))
    return made


def test_new_calls_take_the_new_version_and_running_calls_keep_theirs(desk: Desk) -> None:
    async def body(desk: Desk) -> None:
        running = await desk.call()
        await asyncio.sleep(0.5)
        desk.write(SPEC.replace("ANSWER", "The new answer."))
        assert await desk.reload.look(desk.host)
        await asyncio.gather(running, await desk.call())
        assert not await desk.reload.look(desk.host)

    desk.run(body)
    assert [recorder.texts for recorder in desk.recorders] == [["The old answer."], ["The new answer."]]
    assert "desk.yaml changed; new calls take" in desk.said[-1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pipeline: desk\nversion: v1\ntemplate: choir\n", "desk.yaml:3:"),
        ("pipeline: [", "desk.yaml:1:"),
        (SPEC.replace("scripted-llm]", "nobody]"), "nobody"),
    ],
)
def test_a_broken_edit_is_told_and_the_old_version_stays(desk: Desk, text: str, told: str) -> None:
    async def body(desk: Desk) -> None:
        desk.write(text)
        assert not await desk.reload.look(desk.host)
        await (await desk.call())
        desk.write(SPEC.replace("ANSWER", "Mended."))
        assert await desk.reload.look(desk.host)
        await (await desk.call())

    desk.run(body)
    assert any(told in line for line in desk.said)
    assert any("the version before it is kept" in line for line in desk.said)
    assert [recorder.texts for recorder in desk.recorders] == [["The old answer."], ["Mended."]]


def test_a_module_beside_the_pipeline_is_watched_as_well(desk: Desk) -> None:
    async def body(desk: Desk) -> None:
        (desk.path.parent / "nodes.py").write_text("NUMBER = 1\n")
        assert await desk.reload.look(desk.host)

    desk.run(body)
    assert "nodes.py changed" in desk.said[-1]


def test_a_running_call_keeps_the_nodes_it_began_with(desk: Desk) -> None:
    module = desk.path.parent / "signing.py"
    module.write_text(NODE.replace("SIGNATURE", "Old."))
    desk.write(WITH_NODE)

    async def body(desk: Desk) -> None:
        running = await desk.call(questions=2)
        await asyncio.sleep(3)
        module.write_text(NODE.replace("SIGNATURE", "Quite new."))
        assert await desk.reload.look(desk.host)
        await asyncio.gather(running, await desk.call())

    desk.run(body)
    old, new = (recorder.texts for recorder in desk.recorders)
    assert old == ["An answer. Old."] * 2
    assert new == ["An answer. Quite new."]
