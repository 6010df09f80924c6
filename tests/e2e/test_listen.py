"""`rspp run --listen` as a process of its own: calls over real sockets, and an orderly end in the middle of one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import pytest

from rspp.client import Client, ConnectionLost
from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.wire import Told
from rspp.nodes import factories
from rspp.testing.scripted.tts import tone
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs

SPEC = """
pipeline: desk
version: v1
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: ["It will take me about two seconds to say this."]}
"""
START = "from rspp.cli.run import command; command()"


async def listening(spec: Path, journals: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The server, and where it takes calls."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, str(spec), "--listen", "127.0.0.1:0", "--record", str(journals)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    return process, line.decode().split()[-1]


def evidence_of(file: Path) -> dict[str, tuple[TurnEvidence, CloseStamp | None]]:
    """Each turn's evidence and stamp, as they are on record; a fresh kernel makes the same of the recorded inputs."""
    recording = assemble([unframe(file.read_bytes())])
    assert recording.whole
    run = ExactRun(recording, factories(), Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    assert run.comparison.count == 0, run.comparison.first
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}
    found = {one.turn_id: (one, stamps.get(one.turn_id)) for one in recording.evidence.values()}
    assert run.story().evidence == recording.evidence
    return found


@pytest.mark.slow
def test_sigterm_in_a_call_lets_the_answer_end_takes_nobody_new_and_leaves_whole_evidence(
    tmp_path: Path,
) -> None:
    spec, journals = tmp_path / "desk.yaml", tmp_path / "journals"
    spec.write_text(SPEC)

    async def main() -> tuple[int, str, list[str]]:
        process, url = await listening(spec, journals)
        async with Client.connect(url, tenant="t") as call:
            await call.send_audio(tone(300, 16_000, 9_000))
            silence = asyncio.ensure_future(call.send_silence(20_000))
            await call.signal("playback_started")
            process.send_signal(signal.SIGTERM)
            refused: Exception | None = None
            for _ in range(50):  # until the signal has got through
                try:
                    async with Client.connect(url, tenant="late") as late:
                        await late.welcomed()
                        await late.hang_up()
                except (ConnectionLost, OSError) as error:
                    refused = error
                    break
                await asyncio.sleep(0.02)
            assert refused is not None
            signals: list[str] = []
            with contextlib.suppress(ConnectionLost):
                while True:
                    told = await call.until(lambda event: isinstance(event, Told), 20)
                    assert isinstance(told, Told)
                    signals.append(told.signal)
            silence.cancel()
        _, errors = await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode is not None
        return process.returncode, errors.decode(), signals

    code, errors, signals = asyncio.run(main())
    assert code == 0, errors
    assert "0 sessions were cut short" in errors
    assert "commit" in signals
    assert "playback_completed" in signals
    records = {k: v for path in journals.iterdir() for k, v in evidence_of(path).items()}
    assert len(records) == 1
    assert [missing_fields(record, stamp) for record, stamp in records.values()] == [()]
