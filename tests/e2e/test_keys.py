"""Keys that a caller presses, over a real socket: one control event each, with the transport's own fields, for a node to use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Call, Client
from rspp.contract.event import Event, Signal, Text
from rspp.contract.wire import Caption, Control, Told
from rspp.contract.words import CancelReason
from rspp.host.host import Host
from rspp.host.registry import Registry
from rspp.kernel.hosting import Context
from rspp.nodes import factories
from rspp.spec import compile_text
from tests.unit.host.stage import registry_of

SPEC = """
pipeline: keys
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  keys: {type: dtmf_collector, version: v1}
  llm: {type: llm, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.text, to: llm.text}
  - {from: caller.control, to: keys.control}
  - {from: keys.text, to: speaker.text}
  - {from: llm.text, to: speaker.text}
turn_input: caller.text
providers: {llm: [scripted-llm]}
"""


class Durations:
    """Shows each key with how long it was held, as the transport's field says."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self._count = 0

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        signal = event.payload
        if isinstance(signal, Signal) and signal.signal == "digit_pressed":
            held = (event.extensions or {}).get("rtp.duration_ms")
            key = (signal.detail or {})["digit"]
            ctx.emit("text", Text(f"{key} for {held}", segment=self._count, final=True, role="keys"))
            self._count += 1

    def on_cancel(self, ctx: Context, reason: CancelReason) -> None: ...


async def told(call: Call, key: str, extensions: dict[str, Any] | None) -> tuple[list[Told], list[str]]:
    """Press a key, and hear what becomes of it: signals, and what the node showed."""
    call.send(Control(signal="digit", value=key, extensions=extensions))
    call.send(Control(signal="end_of_line"))  # is refused, when everything before it has been dealt with
    signals: list[Told] = []
    shown: list[str] = []
    while not signals or (signals[-1].detail or {}).get("code") != "signal_unknown":
        event = await call.until(lambda e: isinstance(e, Told | Caption))
        if isinstance(event, Told):
            signals.append(event)
        elif isinstance(event, Caption):
            shown.append(event.text)
    return signals[:-1], shown


@pytest.mark.proves("F-089")
def test_each_key_is_one_control_event_with_its_namespaced_fields_and_a_node_reacts() -> None:
    async def main() -> None:
        registry = registry_of()
        nodes = {**factories(), "dtmf_collector": Durations}
        host = Host(Registry(providers=registry.providers, nodes=nodes))
        host.publish(compile_text(SPEC))
        await host.start()
        transport = WebSocketTransport(Settings(port=0))
        await transport.start(host)
        async with Client.connect(transport.url) as call:
            for ordinal, key in enumerate("19*#D"):
                signals, shown = await told(call, key, {"rtp.duration_ms": 100 + ordinal})
                pressed = [signal.detail for signal in signals if signal.signal == "digit_pressed"]
                assert pressed == [{"digit": key}]
                assert shown == [f"{key} for {100 + ordinal}"]
            for value, extensions in (
                ("5", {"duration_ms": 100}),
                ("5", {"rtp.event": 5, "loud": 1}),
                ("E", None),
            ):
                signals, shown = await told(call, value, extensions)
                assert [signal.signal for signal in signals] == ["abi_rejected"]
                assert shown == []
        await transport.stop("test over")
        assert await host.stop() == []

    asyncio.run(main())


def test_the_collector_makes_a_text_of_the_keys() -> None:
    async def main() -> None:
        host = Host(registry_of())
        host.publish(compile_text(SPEC))
        await host.start()
        transport = WebSocketTransport(Settings(port=0))
        await transport.start(host)
        async with Client.connect(transport.url, encoding="json") as call:
            for key in "407#":
                call.control("digit", value=key)
            entry = await call.until(lambda e: isinstance(e, Caption))
            assert isinstance(entry, Caption)
            assert (entry.text, entry.final) == ("407", True)
        await transport.stop("test over")
        assert await host.stop() == []

    asyncio.run(main())
