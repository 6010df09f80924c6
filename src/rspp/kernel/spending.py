"""A turn's cost caps, held to the token, the character and the millisecond: what exceeds them is cut, and said once."""

from __future__ import annotations

import msgspec

from rspp.contract import emitters
from rspp.contract.event import Audio, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import Codec
from rspp.kernel.calls import Call
from rspp.kernel.desk import Desk
from rspp.kernel.turn import Turn


class Spending:
    """What one session's turns may spend."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def affordable(self, turn: Turn, call: Call) -> bool:
        """Hold the call to the turn's cost caps; what exceeds them is cut or not done, and said."""
        costs = turn.costs
        if call.speculative and not costs.take_speculative_call():
            self.reached(turn, "speculative_calls_max", costs.caps.speculative_calls_max)
            return False
        if call.modality == "llm" and costs.spent("tokens_max"):
            self.reached(turn, "tokens_max", costs.caps.tokens_max)
            return False
        if call.modality != "tts" or call.event is None or not isinstance(call.event.payload, Text):
            return True
        text = call.event.payload.text
        allowed = costs.take_characters(len(text))
        if allowed < len(text):
            self.reached(turn, "characters_max", costs.caps.characters_max)
            if allowed == 0 or costs.caps.on_cap != "truncate":
                return False
            payload = msgspec.structs.replace(call.event.payload, text=text[:allowed])
            call.event = msgspec.structs.replace(call.event, payload=payload)
            text = text[:allowed]
        turn.playout.speaking(call.id, text)
        return True

    def within(self, turn: Turn, call: Call, payload: Audio | Text) -> Audio | Text | None:
        """As much of a chunk as the turn's caps still allow; None where that is nothing."""
        costs = turn.costs
        if isinstance(payload, Text):
            if call.modality != "llm" or not payload.text:
                return payload
            # A chunk is a token at least; the provider's own count corrects it at the end.
            call.tokens += 1
            if costs.take_tokens(1):
                return payload
            self.reached(turn, "tokens_max", costs.caps.tokens_max)
            return None
        if not costs.caps.audio_ms_max or not payload.samples:
            return payload
        ms = payload.samples * 1000 // payload.rate
        allowed = costs.take_audio(ms)
        if allowed == ms:
            return payload
        self.reached(turn, "audio_ms_max", costs.caps.audio_ms_max)
        if allowed == 0 or costs.caps.on_cap != "truncate" or payload.codec is not Codec.PCM16:
            return None
        samples = allowed * payload.rate // 1000
        data = payload.data[: samples * 2 * payload.channels]
        return msgspec.structs.replace(payload, data=data, samples=samples)

    def reached(self, turn: Turn, cap: str, amount: int) -> None:
        if turn.costs.first_time(cap):
            self._desk.announce(
                SignalName.CAP_REACHED, emitters.BUDGETS, turn.scope, reason=cap, amount=None, cap=amount
            )
