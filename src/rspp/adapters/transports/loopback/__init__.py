"""Loopback: callers made of sound files, on a line without a network. What a session is told is what a socket would tell it.

`script` says what a caller does, `caller` does it, `speaker` plays what comes back and knows what was heard, `transport`
brings the callers to the door, `pace` makes the hours short.
"""

from __future__ import annotations

from rspp.adapters.transports.loopback.caller import Caller, CallerOutcome
from rspp.adapters.transports.loopback.pace import LoopClock, PacedLoop
from rspp.adapters.transports.loopback.script import (
    HangUp,
    Press,
    Say,
    Step,
    UntilAnswered,
    UntilHeard,
    Wait,
    Write,
    ask,
    spoken_until_ms,
)
from rspp.adapters.transports.loopback.speaker import Speaker
from rspp.adapters.transports.loopback.transport import Loopback

__all__ = [
    "Caller",
    "CallerOutcome",
    "HangUp",
    "LoopClock",
    "Loopback",
    "PacedLoop",
    "Press",
    "Say",
    "Speaker",
    "Step",
    "UntilAnswered",
    "UntilHeard",
    "Wait",
    "Write",
    "ask",
    "spoken_until_ms",
]
