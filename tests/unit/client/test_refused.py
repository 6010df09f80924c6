"""Who is not let in learns from the server's good-bye why, and when to try again."""

from __future__ import annotations

import asyncio

import pytest

from rspp.client import Client, ConnectionLost
from rspp.client.call import REASON_MAX
from rspp.contract.wire import CloseCode
from rspp.host.ports import Refused
from tests.unit.adapters.transports.websocket.given import serving


async def refused(why: Refused | None, token: str = "") -> ConnectionLost:
    async with serving(admits=lambda tenant, offered: offered == token) as (transport, door):
        door.refusal = why
        with pytest.raises(ConnectionLost) as lost:
            async with Client.connect(transport.url, token=""):
                pass
        return lost.value


@pytest.mark.parametrize("retry_after_ms", [1_500, None])
def test_a_refusal_by_the_host_says_why_and_when_to_come_again(retry_after_ms: int | None) -> None:
    lost = asyncio.run(refused(Refused("capacity_reject", "no place is free", retry_after_ms)))
    assert lost.close_code == CloseCode.SESSION_REFUSED
    assert lost.reason == "session_refused"
    assert lost.told is not None
    assert lost.told.reason == "capacity_reject: no place is free"
    assert lost.retry_after_ms == retry_after_ms
    assert "no place is free" in lost.message


def test_a_refusal_by_the_transport_says_why_too() -> None:
    lost = asyncio.run(refused(None, token="another"))
    assert lost.close_code == CloseCode.TOKEN_REFUSED
    assert lost.told is not None
    assert "token" in lost.told.reason
    assert lost.retry_after_ms is None


def test_a_long_reason_does_not_fill_the_error() -> None:
    lost = asyncio.run(refused(Refused("capacity_reject", "x" * 10_000)))
    assert len(lost.message) < REASON_MAX + 100


def test_a_line_that_broke_without_a_good_bye_has_nothing_to_tell() -> None:
    lost = ConnectionLost(1006, "")
    assert lost.told is None
    assert lost.retry_after_ms is None
    assert lost.message == "closed with 1006"
