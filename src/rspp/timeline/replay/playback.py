"""A playback: what the models said and what was sent, from the recording alone. No kernel, no node, no provider.

What was sent as text follows from the inputs and is not recorded itself: its trace is, with everything but the words. What the
models said is, as far as it was not withheld.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Text
from rspp.kernel.inputs import CallFailed, CallFinished, CallProduced, Input
from rspp.kernel.trace import Item
from rspp.timeline.recording import Recording
from rspp.timeline.replay.exact import Taken
from rspp.timeline.replay.modes import Mode
from rspp.timeline.story import Story, told

_OUTPUT_INPUTS: Final = (CallProduced, CallFinished, CallFailed)
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a model said, or that was sent toward the caller; stamped with the mode that tells it."""

    step: int
    at_ms: float
    source: str  # provider, sent
    what: str
    mode: str
    decisions: str
    call: str | None = None
    attempt: int | None = None
    turn: str | None = None
    text: str | None = None
    samples: int | None = None
    rate: int | None = None
    reason: str | None = None
    withheld: bool = False


class PlaybackRun:
    """Steps through what was recorded. `decisions_only` walks the trace where no outputs are kept (level L0)."""

    def __init__(self, recording: Recording, mode: Mode, *, decisions_only: bool = False) -> None:
        said = [step for step, (_, one) in recording.inputs.items() if isinstance(one, _OUTPUT_INPUTS)]
        if not said and not decisions_only:
            raise MisuseError(
                "replay_outputs_missing",
                f"{recording.session_id} has no recorded outputs to play back (level "
                f"{recording.head.level.value}); its decisions can be walked with --decisions-only",
            )
        self.mode = mode
        self.recording = recording
        self.decisions_only = decisions_only
        self.outputs: list[Output] = []
        self._items: dict[int, list[Item]] = defaultdict(list)
        for item in recording.items:
            self._items[item.step].append(item)
        self._runs: dict[int, list[Any]] = defaultdict(list)
        for run in recording.runs:
            self._runs[run.step].append(run)
        self._steps = sorted({0, *self._items, *self._runs, *said})
        self._next = 0
        self._told: list[Item] = []
        self._digest = hashlib.sha256()
        self.number = -1
        self.last = self._steps[-1]

    def step(self) -> Taken | None:
        """The next step at which anything was said, sent or decided."""
        if self._next >= len(self._steps):
            return None
        number = self.number = self._steps[self._next]
        self._next += 1
        items = self._items.get(number, [])
        found = self.recording.inputs.get(number)
        at = found[0] if found else items[0].at if items else self.recording.began_at
        if not self.decisions_only:
            if found is not None and isinstance(found[1], _OUTPUT_INPUTS):
                self._said(number, at, found[1])
            self._sent(number, items)
        self._told += items
        self._digest.update(_ENCODE([number, items]))
        return Taken(number, at, items)

    def go_to(self, step: int) -> None:
        while self.number < step and self.step() is not None:
            pass

    def digest(self) -> str:
        """Over what was told until now; comparable only between playbacks."""
        return self._digest.hexdigest()

    def story(self, label: str = "playback") -> Story:
        """What was told until now."""
        story = told(self.recording, label)
        at_end = self._next >= len(self._steps)
        return msgspec.structs.replace(
            story,
            mode=self.mode.outputs.value,
            decisions=self.mode.decisions.value,
            items=story.items if at_end else list(self._told),
            through=story.through if at_end else self.number,
        )

    # ---- outputs ---------------------------------------------------------------------------------------------------

    def _said(self, step: int, at: int, received: Input) -> None:
        if isinstance(received, CallProduced):
            payload = received.payload
            withheld = step in self.recording.withheld_texts or step in self.recording.without_sound
            self._add(
                step,
                at,
                "provider",
                type(payload).__name__.lower(),
                call=received.call_id,
                attempt=received.attempt,
                text=payload.text if isinstance(payload, Text) else None,
                samples=payload.samples if isinstance(payload, Audio) else None,
                rate=payload.rate if isinstance(payload, Audio) else None,
                withheld=withheld or bool(self.recording.masked.get(step)),
            )
        elif isinstance(received, CallFinished | CallFailed):
            failed = isinstance(received, CallFailed)
            self._add(
                step,
                at,
                "provider",
                "failed" if failed else "finished",
                call=received.call_id,
                attempt=received.attempt,
                reason=received.reason if isinstance(received, CallFailed) else None,
            )

    def _sent(self, step: int, items: list[Item]) -> None:
        for item in items:
            if item.what == "send":
                self._add(step, item.at, "sent", item.name, turn=item.turn, withheld=item.name == "text")
        for run in self._runs.get(step, ()):
            self._add(
                step,
                run.at,
                "sent",
                "audio",
                turn=run.turn,
                samples=run.samples,
                rate=run.rate,
                withheld=True,
            )

    def _add(self, step: int, at: int, source: str, what: str, **facts: Any) -> None:
        self.outputs.append(
            Output(
                step=step,
                at_ms=(at - self.recording.began_at) / 1e6,
                source=source,
                what=what,
                mode=self.mode.outputs.value,
                decisions=self.mode.decisions.value,
                **facts,
            )
        )
