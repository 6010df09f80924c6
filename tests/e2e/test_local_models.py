"""The real models on this machine: a spoken question, a spoken answer, measured in the recording itself."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rspp.adapters.providers.local import providers
from rspp.adapters.transports.loopback.script import level_of
from rspp.cli.demo import SECOND, VOICE, spoken
from rspp.cli.demo import command as demo
from rspp.cli.main import main as rspp
from rspp.cli.run import command
from rspp.host.ports import ReactiveProvider
from rspp.media.resample import resample
from rspp.media.wav import Sound, read_wav, write_wav

EXAMPLE = Path(__file__).parents[2] / "examples" / "voice-assistant.yaml"
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]


def say(text: str) -> Sound:
    async def main() -> Sound:
        voice = providers()[VOICE].kind.factory(VOICE, {})
        assert not isinstance(voice, ReactiveProvider)
        await voice.open()
        try:
            return await spoken(voice, text)
        finally:
            await voice.close()

    return asyncio.run(main())


def write_stereo(path: Path, sound: Sound, rate: int) -> None:
    """As a recorder of music would: stereo, at its rate."""
    mono = np.frombuffer(resample(sound.pcm, sound.rate, rate), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.column_stack((mono, mono)).tobytes())


def loud_share(sound: Sound, from_ms: float, to_ms: float) -> float:
    """How many of the 20 ms of a stretch can be heard."""
    step = 2 * sound.rate // 50
    first, last = (2 * int(ms * sound.rate / 1000) for ms in (from_ms, to_ms))
    levels = [level_of(sound.pcm[at : at + step]) for at in range(first, last - step, step)]
    return sum(level > 100 for level in levels) / max(1, len(levels))


def assert_replays(session: str) -> None:
    """The call was recorded, and its kernel does the same again."""
    result = CliRunner().invoke(rspp, ["replay", session, "--mode", "re-simulate", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["divergences"] == 0
    assert found["digest_recorded"] == found["digest_replayed"] is not None


def test_a_spoken_question_is_understood_and_answered_in_speech_that_can_be_understood(
    tmp_path: Path,
) -> None:
    question, answer = tmp_path / "question.wav", tmp_path / "answer.wav"
    write_stereo(question, say("What is the largest ocean on Earth?"), 44_100)
    result = CliRunner().invoke(
        command, [str(EXAMPLE), "--wav", str(question), "--out", str(answer), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert_replays(json.loads(result.stdout)["session_id"])
    (turn,) = json.loads(result.stdout)["turns"]
    assert {"largest", "ocean", "earth"} <= set(turn["transcript"].lower().strip("?.").split())
    assert turn["terminal"] == "commit"
    assert turn["evidence_complete"]
    assert sum(turn["stages_ms"].values()) == pytest.approx(turn["end_of_speech_to_first_audio_ms"], abs=0.05)
    assert turn["gap_ms_most"] <= 100
    heard = read_wav(answer)
    began, ended = turn["first_audio_at_ms"], turn["last_audio_at_ms"]
    assert loud_share(heard, 0, began - 20) == 0 == loud_share(heard, ended + 20, heard.ms)
    assert loud_share(heard, began, ended) > 0.6

    # What was heard is words: the same recogniser, asked what it hears, finds those of the answer.
    write_wav(question, heard)
    again = CliRunner().invoke(command, [str(EXAMPLE), "--wav", str(question), "--json", "--pace", "max"])
    understood = " ".join(turn["transcript"] for turn in json.loads(again.stdout)["turns"]).lower()
    words = {word.strip(".,!?").lower() for word in turn["reply"].split()}
    assert len(words & {word.strip(".,!?") for word in understood.split()}) >= len(words) / 2


def test_the_demo_makes_good_on_every_claim(tmp_path: Path) -> None:
    out = tmp_path / "demo-out.wav"
    result = CliRunner().invoke(demo, [str(EXAMPLE), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.count("ok  ") == 5
    assert "FAIL" not in result.stdout
    assert_replays("last")
    assert SECOND.split()[-1].strip(".") in result.stdout
    with wave.open(str(out)) as file:
        assert file.getnchannels() == 2
        assert file.getnframes() > 5 * file.getframerate()
