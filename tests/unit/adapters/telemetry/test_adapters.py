"""Each adapter, over a real socket or with its real model, is found by the same query and has the same labels as all others."""

from __future__ import annotations

import asyncio
import json
import math
from array import array
from pathlib import Path

import pytest

from rspp.adapters.providers.local import providers as local_kinds
from rspp.adapters.providers.local import readiness
from rspp.adapters.providers.openai_compatible import providers as openai_kinds
from rspp.control.supervisor.exposition import Exposition
from rspp.host.host import Host
from rspp.host.meters import Reading
from rspp.testing.conformance.metrics import undeclared
from tests.unit.adapters.providers.openai_compatible.server import Asked, Peer, delta, serving
from tests.unit.host.stage import SPEC, Caller, Stage, VirtualClock, graph_of, registry_of

EXAMPLE = Path(__file__).parents[4] / "examples/voice-assistant.yaml"
LABELS = ("modality", "pipeline", "pipeline_version", "provider")
# Whoever scores frames is asked fifty times a second and gives a number: there is nothing to weigh.
SCORING = ("vad", "end_of_turn")
TIMED = {"provider_rtt_ms"}
WEIGHED = {*TIMED, "provider_request_bytes", "provider_response_bytes"}
REMOTE = {
    "vad": "energy-vad",
    "end_of_turn": "silence",
    "stt": "openai-stt",
    "llm": "openai-llm",
    "tts": "openai-tts",
}
LOCAL = {
    "vad": "local-silero",
    "end_of_turn": "local-smart-turn",
    "stt": "local-whisper",
    "llm": "local-smollm2",
    "tts": "local-hibari",
}


def tone(ms: int) -> bytes:
    return array("h", (int(9_000 * math.sin(n / 12)) for n in range(16 * ms))).tobytes()


async def heard(caller: Caller, pcm: bytes) -> None:
    for at in range(0, len(pcm) - 639, 640):
        await caller.frames(20, pcm[at : at + 640])


async def reading_of(providers: dict[str, str], pcm: bytes, settings: str = "", spec: str = SPEC) -> Reading:
    """One turn with these."""
    for modality, name in providers.items():
        spec = spec.replace(f"[scripted-{modality.replace('_', '-')}]", f"[{name}]")
    kinds = {**openai_kinds(), **{name: one.kind for name, one in local_kinds().items()}}
    host = Host(registry_of(**kinds), clock=VirtualClock())
    host.publish(graph_of(base=spec + settings))
    assert [(one.name, one.failure) for one in await host.start() if not one.ready] == []
    caller = Stage(host, VirtualClock()).call()
    await caller.frames(500)
    await heard(caller, pcm)
    await caller.until("commit", within_ms=30_000)
    assert caller.seat is not None
    await host.close_session(caller.seat.session_id)
    reading = host.meters.read()
    await host.stop()
    return reading


def same_as_all(reading: Reading, providers: dict[str, str]) -> None:
    """One query finds each of them, under the names and with the label keys that all have."""
    assert undeclared(reading) == []
    exposition = Exposition()
    exposition.take("w0", reading)
    page = exposition.body.decode().splitlines()
    for modality, provider in providers.items():
        mine = [
            one for one in reading.histograms if ("provider", provider) in one.labels and one.summary.count
        ]
        shapes = {(one.name, tuple(key for key, _ in one.labels)) for one in mine}
        names = {name for name, keys in shapes if keys == LABELS}
        assert names >= (TIMED if modality in SCORING else WEIGHED), provider
        assert names <= WEIGHED, provider
        assert ("node_latency_ms", ("node", "pipeline", "pipeline_version", "provider")) in shapes, provider
        asked = [line for line in page if line.startswith("rspp_provider_rtt_ms_count{")]
        assert [line for line in asked if f'provider="{provider}"' in line], provider


async def answers(peer: Peer, asked: Asked) -> None:
    if asked.path.endswith("/chat/completions"):
        await peer.chunked(delta("Yes, "), delta("indeed.", "stop"), b"data: [DONE]\n\n")
    elif asked.path.endswith("/audio/speech"):
        await peer.chunked(tone(200), kind="audio/pcm")
    else:
        await peer.chunked(json.dumps({"text": "hello there"}).encode(), kind="application/json")


@pytest.mark.slow
@pytest.mark.proves("F-065")
def test_remote_adapters_have_the_names_and_label_keys_of_all_others() -> None:
    async def main() -> None:
        async with serving(answers) as server:
            settings = "provider_settings:\n" + "".join(
                f"  openai-{modality}: {{base_url: '{server.base_url}', model: m}}\n"
                for modality in ("stt", "llm", "tts")
            )
            remote = await reading_of(REMOTE, tone(800), settings)
            assert {one.path.rpartition("/v1/")[2] for one in server.asked} == {
                "audio/transcriptions",
                "chat/completions",
                "audio/speech",
            }
        same_as_all(remote, {name: REMOTE[name] for name in REMOTE if name != "end_of_turn"})
        # One that gives no score has nothing to time, and still no series of another shape.
        same_as_all(
            await reading_of({}, tone(800)), {one: f"scripted-{one}" for one in ("stt", "llm", "tts")}
        )

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.proves("F-065")
def test_local_models_have_the_names_and_label_keys_of_all_others() -> None:
    missing = [f"{name}: {why}" for name in LOCAL.values() if (why := readiness(name)) != "ready"]
    if missing:
        pytest.skip("; ".join(missing))
    from rspp.adapters.providers.local.hibari import _load, _speak

    voice = _load()
    question = b"".join(
        _speak(voice, phonemes, 1.0, 16_000) for phonemes in voice.phonemize("What is the capital of France?")
    )
    spec = EXAMPLE.read_text(encoding="utf-8")
    for limit in ("turn_budget_ms: 6000", "_default: 3000", "_default: 5800", "_ms: 3000", "_ms_max: 3000"):
        assert limit in spec
        spec = spec.replace(limit, f"{limit}0")  # however busy the machine is
    same_as_all(asyncio.run(reading_of({}, question, spec=spec)), LOCAL)
