"""Each control message of a client as the kernel's input: one line a message, nothing decided."""

from __future__ import annotations

from rspp.contract.wire import Control, Delivery, Say
from rspp.kernel.inputs import ControlReceived, DeliveryReported, Input, TextReceived


def as_input(message: Control | Say | Delivery, sequence: int) -> Input:
    """What the session is told; `sequence` counts this connection's control messages."""
    if isinstance(message, Control):
        return ControlReceived(
            signal=message.signal,
            transport_sequence=sequence,
            epoch=message.epoch,
            idempotency_key=message.key,
            scope=message.scope,
            target=message.target,
            reason=message.reason,
            mode=message.mode,
            value=message.value,
            extensions=message.extensions,
        )
    if isinstance(message, Say):
        return TextReceived(message.text, sequence, message.epoch, message.key)
    return DeliveryReported(message.what, message.turn_id, message.heard_ms, message.epoch)
