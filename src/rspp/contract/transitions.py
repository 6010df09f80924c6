"""One step of a lifecycle, as it is recorded."""

from __future__ import annotations

import msgspec


class Transition(msgspec.Struct, frozen=True, gc=False, tag="transition", forbid_unknown_fields=True):
    """`subject` went from one state to the next; equal histories give equal steps."""

    machine: str  # "session" or "turn"
    subject: str
    from_state: str
    trigger: str
    to_state: str
    deterministic: bool = True
