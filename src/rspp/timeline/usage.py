"""What each provider was asked and did, in calls, attempts, tokens, characters and seconds of audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rspp.contract.event import Audio, Text
from rspp.kernel import inputs as i
from rspp.timeline.recording import Recording
from rspp.timeline.story import Story


class Provider(msgspec.Struct, kw_only=True):
    """What one provider was asked and did. `seconds` is audio in for one that listens, audio out for one that speaks."""

    modality: str
    provider: str
    model: str | None = None
    calls: int = 0
    attempts: int = 0
    retries: int = 0
    failures: dict[str, int] = {}  # outcome -> attempts
    tokens: int | None = None
    characters: int | None = None
    seconds: float | None = None
    cost: float | None = None


def used(story: Story) -> list[Provider]:
    """By modality and name, from a run's inputs and what came of them."""
    return _Providers(story).all()


class _Providers:
    """What each provider did, attempt by attempt, in the order of what happened."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._found: dict[tuple[str, str], Provider] = {}
        self._running: dict[tuple[str, int], Provider] = {}  # call, attempt -> whose it is
        self._called: set[str] = set()

    def all(self) -> list[Provider]:
        inputs = iter(self._story.inputs.items())
        pending = next(inputs, None)
        for made in self._story.items:
            while pending is not None and pending[0] <= made.step:
                self._took(pending[1][1])
                pending = next(inputs, None)
            if made.what == "invoke":
                self._invoked(made.name, made.facts)
            elif made.what == "kill_call":
                self._running.pop((made.facts["call_id"], made.facts["attempt"]), None)
        while pending is not None:
            self._took(pending[1][1])
            pending = next(inputs, None)
        for one in self._found.values():
            one.seconds = None if one.seconds is None else round(one.seconds, 3)
        return [self._found[key] for key in sorted(self._found)]

    def _invoked(self, modality: str, facts: Mapping[str, Any]) -> None:
        name, call = facts["provider"], facts["call"]
        one = self._found.get((modality, name))
        if one is None:
            settings = self._story.graph.provider_settings.get(name, {})
            model = settings.get("model")
            one = Provider(modality=modality, provider=name, model=model if isinstance(model, str) else None)
            self._found[modality, name] = one
        one.attempts += 1
        one.calls += call not in self._called
        one.retries += call in self._called
        self._called.add(call)
        if modality == "tts" and "chars" in facts:
            one.characters = (one.characters or 0) + facts["chars"]
        self._running[call, facts["attempt"]] = one

    def _took(self, received: i.Input) -> None:
        if type(received) is i.AudioReceived:
            for one in self._running.values():
                if one.modality == "stt" and received.audio.rate:
                    one.seconds = (one.seconds or 0.0) + received.audio.samples / received.audio.rate
        elif type(received) is i.CallProduced:
            self._produced(received)
        elif type(received) is i.CallFinished:
            running = self._running.pop((received.call_id, received.attempt), None)
            if running is not None and running.modality == "llm":
                running.tokens = (running.tokens or 0) + received.tokens
        elif type(received) is i.CallFailed:
            running = self._running.pop((received.call_id, received.attempt), None)
            if running is not None:
                outcome = received.outcome.value
                running.failures[outcome] = running.failures.get(outcome, 0) + 1
        elif type(received) is i.CallCancelled:
            self._running.pop((received.call_id, received.attempt), None)

    def _produced(self, chunk: i.CallProduced) -> None:
        one = self._running.get((chunk.call_id, chunk.attempt))
        if one is None:
            return
        payload = chunk.payload
        if one.modality == "tts" and isinstance(payload, Audio) and payload.rate:
            one.seconds = (one.seconds or 0.0) + payload.samples / payload.rate
        elif one.modality == "llm" and isinstance(payload, Text):
            one.characters = (one.characters or 0) + len(payload.text)


def by_evidence(recording: Recording) -> list[Provider]:
    """As far as the turns' evidence tells it: the outcome of each call, under the provider that ended it."""
    found: dict[tuple[str, str], Provider] = {}
    for evidence in recording.evidence.values():
        for call in evidence.invocation_outcomes:
            key = (call.modality, call.provider)
            one = found.setdefault(key, Provider(modality=call.modality, provider=call.provider))
            one.calls += 1
            one.attempts += call.attempts
            one.retries += call.attempts - 1
            outcome = call.outcome_class.value
            if outcome not in ("success", "cancelled"):
                one.failures[outcome] = one.failures.get(outcome, 0) + 1
    return [found[key] for key in sorted(found)]
