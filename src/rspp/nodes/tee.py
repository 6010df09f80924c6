"""Whatever comes in goes out unchanged, on one port, so that one place can be watched or split."""

from __future__ import annotations

from collections.abc import Mapping

from rspp.contract.event import Event, Signal
from rspp.kernel.hosting import Context


class Tee:
    """Repeats data, errors and telemetry. Control is not repeated: only the kernel may emit a signal."""

    def __init__(self, config: Mapping[str, object]) -> None:
        del config  # it has no settings

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        if not isinstance(event.payload, Signal):
            ctx.emit("out", event.payload)
