"""Where an input waits until its session is served: in which lane, how many there, and which are taken even when it is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.contract.words import Lane
from rspp.kernel import inputs as i

CONTROL, DATA, TELEMETRY = Lane.CONTROL, Lane.DATA, Lane.TELEMETRY
# How many inputs may wait in each lane. Data: five seconds of frames with their scores, on a process that stands still.
INBOX_ITEMS_MAX: Final[Mapping[Lane, int]] = {CONTROL: 1_024, DATA: 1_024, TELEMETRY: 256}
# The inputs that may overtake nothing of their own: audio, what is said of it, and what calls produce, to their end.
# (A soft cancel is acknowledged after the chunk that it let through, so that is an end like the others.)
_DATA_INPUTS: Final = (
    i.AudioReceived,
    i.TextReceived,
    i.SpeechScored,
    i.EndOfTurnScored,
    i.CallAccepted,
    i.CallProduced,
    i.CallFinished,
    i.CallFailed,
    i.CallCancelled,
)
# Taken even when their lane is full, for nobody would say them again: the one end of each attempt, the one answer to
# each evidence, and what a transport or the host itself says of the session. A client cannot make many of them.
NEVER_REFUSED: Final = frozenset(
    {
        i.CallFinished,
        i.CallFailed,
        i.CallCancelled,
        i.EvidenceStored,
        i.ConnectionChanged,
        i.CloseRequested,
    }
)
# The caller's controls that say where in the audio something was: before it they would cut off what was still said.
_MARKS_IN_AUDIO: Final = frozenset({"talk_pressed", "talk_released", "end_of_utterance"})
_TELEMETRY_INPUTS: Final = (i.NodeMeasured, i.ClockObserved)
_LANE_OF_INPUT: Final[Mapping[type, Lane]] = {
    **dict.fromkeys(_DATA_INPUTS, DATA),
    **dict.fromkeys(_TELEMETRY_INPUTS, TELEMETRY),
}


def lane_of(received: i.Input) -> Lane:
    """The lane that this input waits in; what nobody put elsewhere is control."""
    lane = _LANE_OF_INPUT.get(type(received), CONTROL)
    if lane is CONTROL and isinstance(received, i.ControlReceived) and received.signal in _MARKS_IN_AUDIO:
        return DATA
    return lane
