"""One short session, written down by hand, whose every figure can be worked out with a pencil.

Turn 1 answers a second of speech whose voice ends at 600 ms and is heard from 1,000 ms on, for one second. Turn 2 answers
what was typed at 3,000 ms; its first model fails, its second answers, and the caller cuts it 300 ms after 3,300 ms.
"""

from __future__ import annotations

from typing import Any

import msgspec

from rspp.contract.event import Audio, Text
from rspp.contract.words import ConnectionState, OutcomeClass
from rspp.kernel import inputs as i
from rspp.kernel.trace import Item, Run
from rspp.timeline import records as r
from rspp.timeline.packing import pack
from rspp.timeline.recording import Recording, assemble
from tests.unit.timeline.calls import simulated

MS = 1_000_000
TENANT = "tenant-a"
SESSION = "scripted"


class _Script:
    def __init__(self) -> None:
        self.inputs: list[tuple[int, i.Input]] = []
        self.items: list[Item] = []
        self.runs: list[Run] = []

    def took(self, at_ms: int, received: i.Input) -> None:
        self.inputs.append((at_ms * MS, received))

    def did(self, what: str, name: str, turn: str | None = None, **facts: Any) -> None:
        at = self.inputs[-1][0]
        self.items.append(Item(len(self.inputs), at, what, name, turn, 1, len(self.items), facts))

    def sent(self, turn: str, samples: int) -> None:
        at = self.inputs[-1][0]
        self.runs.append(Run(len(self.inputs), at, turn, 0, samples, samples // 320, at, 16_000))


def _invoke(script: _Script, call: str, modality: str, provider: str, turn: str | None, **facts: Any) -> None:
    script.did(
        "invoke", modality, turn, call=call, node=modality, provider=provider, **{"attempt": 1, **facts}
    )


def _produced(call: str, payload: Audio | Text, attempt: int = 1) -> i.CallProduced:
    return i.CallProduced(call, attempt, 0, payload)


def _sound(samples: int) -> Audio:
    return Audio(bytes(2 * samples), samples, 0)


def _first_turn(script: _Script) -> None:
    script.took(0, i.ConnectionChanged(ConnectionState.CONNECTED))
    _invoke(script, "stt-1", "stt", "stt-a", None)
    for frame in range(50):
        at = 20 * (frame + 1)
        script.took(at, i.AudioReceived(Audio(bytes(640), 320, 320 * frame), frame))
        script.took(at, i.SpeechScored(0.9 if at <= 600 else 0.0))
        if at == 800:
            script.did("signal", "speech_stopped")
        if at == 820:
            script.took(820, _produced("stt-1", Text("hello there", final=True, role="user")))
            script.did("signal", "turn_open", "one")
            _invoke(script, "llm-1", "llm", "llm-a", "one", chars=11, role="user")
        if at == 900:
            script.took(900, _produced("llm-1", Text("Good day.")))
            _invoke(script, "tts-1", "tts", "tts-a", "one", chars=9)
            script.took(900, i.CallFinished("llm-1", 1, tokens=30))
        if at == 960:
            script.took(960, _produced("tts-1", _sound(16_000)))
            script.sent("one", 16_000)
    script.took(1_000, i.DeliveryReported("started", "one"))
    script.did("signal", "playback_started", "one")
    script.took(2_000, i.DeliveryReported("completed", "one", 1_000))
    script.did("signal", "playback_completed", "one", detail={"heard_ms": 1_000})
    script.did("signal", "commit", "one")
    script.did("signal", "close", "one")


def _second_turn(script: _Script) -> None:
    script.took(3_000, i.TextReceived("no", 1))
    script.did("signal", "turn_open", "two")
    _invoke(script, "llm-2", "llm", "llm-a", "two", chars=2, role="user")
    script.took(3_050, i.CallFailed("llm-2", 1, OutcomeClass.TIMEOUT, "provider_timeout"))
    _invoke(script, "llm-2", "llm", "llm-b", "two", chars=2, role="user", attempt=2)
    script.took(3_150, _produced("llm-2", Text("As you wish, madam."), 2))
    _invoke(script, "tts-2", "tts", "tts-a", "two", chars=20)
    script.took(3_200, i.CallFinished("llm-2", 2, tokens=12))
    script.took(3_260, _produced("tts-2", _sound(8_000)))
    script.sent("two", 8_000)
    script.took(3_300, i.DeliveryReported("started", "two"))
    script.did("signal", "playback_started", "two")
    script.took(3_600, i.ControlReceived("barge_in", 2))
    script.did("signal", "playback_cancelled", "two", reason="barge_in", detail={"heard_ms": 300})
    script.did("signal", "abort", "two", reason="cancelled")
    script.did("signal", "close", "two")


def scripted_bytes(session: str = SESSION, tenant: str = TENANT) -> bytes:
    """The session as a file."""
    script = _Script()
    _first_turn(script)
    _second_turn(script)
    head = simulated(7, 0).head
    request = msgspec.structs.replace(head.request, session_id=session, tenant_id=tenant)
    head = msgspec.structs.replace(head, session_id=session, tenant_id=tenant, request=request)
    texts: list[r.Spoken] = []

    def keep(step: int, at: int, received: i.Input) -> i.Input:
        text = getattr(received, "text", None) or getattr(getattr(received, "payload", None), "text", None)
        if isinstance(text, str):
            texts.append(r.Spoken(step, text))
        return received

    inputs = pack(1, 0, script.inputs, keep)
    through = len(script.inputs)
    records = (
        head,
        inputs,
        r.Words(texts=texts),
        r.Trace(through=through, items=script.items, runs=script.runs),
        r.End(steps=through, at=script.inputs[-1][0], reason="closed"),
    )
    return b"".join(map(r.frame, records))


def scripted() -> Recording:
    """The session, read."""
    return assemble([r.unframe(scripted_bytes())])
