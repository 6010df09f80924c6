"""The end of a turn is judged once in a pause, never in silence, and a judgement that came too late is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rspp.adapters.providers.local.smart_turn import SmartTurnCall, SmartTurnModel
from rspp.adapters.providers.local.weights import locate
from rspp.contract.event import Audio
from rspp.host.batching import Batcher
from rspp.testing.conformance.attempt import Heard, event_of
from tests.unit.adapters.providers.local.driving import Say, attempt, ended, frames, opened, silence

BYTES_MAX = 2 * 16_000 * 8


class Judge:
    """Remembers what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def infer(self, batch: Sequence[bytes]) -> list[float]:
        self.asked += batch
        return [0.75 for _ in batch]


def speech(ms: int) -> bytes:
    return b"\x00\x20\x00\xe0" * (8 * ms)


def judged(*sounds: bytes, bytes_max: int = BYTES_MAX, waiting: bool = True) -> tuple[Judge, Heard]:
    """What came of these sounds; with `waiting`, the answer to each comes before the next sound."""

    async def main() -> tuple[Judge, Heard]:
        judge, heard = Judge(), Heard()
        batcher = Batcher("judge", judge, batch_max=4, queue_ms_max=5_000, capacity=8)
        call = SmartTurnCall(heard, batcher, bytes_max)
        for sound in sounds:
            for frame in frames(sound):
                call.feed(event_of(frame))
            async with asyncio.timeout(5):
                while waiting and call._asked:  # noqa: ASYNC110 - nobody tells when nothing is asked
                    await asyncio.sleep(0.001)
        call.end(True)
        await heard.until(lambda h: h.ended, 5_000, "it did not end")
        await batcher.close(1_000)
        return judge, heard

    return asyncio.run(main())


def test_each_pause_is_judged_once() -> None:
    judge, heard = judged(speech(500) + silence(600), speech(500) + silence(2_000))

    assert heard.scores == [0.75, 0.75]
    assert len(judge.asked) == 2


def test_silence_alone_and_a_click_are_not_judged() -> None:
    assert judged(silence(5_000))[1].scores == []
    assert judged(silence(500) + speech(60) + silence(2_000))[1].scores == []


def test_a_judgement_that_comes_when_the_caller_has_gone_on_is_dropped() -> None:
    judge, heard = judged(speech(500) + silence(220) + speech(500), waiting=False)

    assert len(judge.asked) == 1
    assert heard.scores == []
    assert heard.ends == ["finished"]


def test_what_is_looked_back_on_is_bounded() -> None:
    judge, _ = judged(speech(20_000) + silence(300), bytes_max=2 * 16_000)

    assert 2 * 16_000 <= len(judge.asked[0]) < 2 * 16_000 + 640


def test_a_broken_frame_fails_the_call_once() -> None:
    async def main() -> Heard:
        heard = Heard()
        batcher = Batcher("judge", Judge(), batch_max=4, queue_ms_max=5_000, capacity=8)
        call = SmartTurnCall(heard, batcher, BYTES_MAX)
        call.feed(event_of(Audio(b"\1", 1, 0)))
        call.feed(event_of(frames(speech(20))[0]))
        call.end(True)
        await batcher.close(1_000)
        return heard

    assert asyncio.run(main()).ends == ["failed"]


@pytest.mark.slow
@pytest.mark.usefixtures("models")
def test_the_real_model_judges_real_pauses_alike_in_a_batch_and_alone(say: Say) -> None:
    """What it thinks of a synthetic voice is not asserted: it was made for real ones."""
    sounds = [say("Could you tell me the time?") + silence(200), say("I would like to") + silence(200)]
    model = SmartTurnModel(locate("smart-turn-v3.2") / "smart-turn-v3.2-cpu.onnx")
    alone = [model.infer([sound])[0] for sound in sounds]

    async def main() -> list[float]:
        async with opened("local-smart-turn") as provider:
            call = attempt(provider)
            for frame in frames(sounds[0] + silence(500)):
                call.feed(frame)
            call.end(last=True)
            await ended(call)
            return call.heard.scores

    # Integer arithmetic scales by the whole batch, so the same sound differs a little in company.
    assert model.infer(sounds) == pytest.approx(alone, abs=0.05)
    (score,) = asyncio.run(main())
    assert 0 <= score <= 1
