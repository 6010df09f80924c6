"""The reference client: a call over a WebSocket, with an honest ear. For tests, demos, and whoever builds a client.

One line, which is lost when it is lost:

async with Client.connect("ws://127.0.0.1:8080/v1/rtc/ws", tenant="demo") as call:
    await call.send_audio(pcm)
    answer = await call.until(lambda event: isinstance(event, Caption) and event.role == "assistant")

A conversation, which finds its line again wherever its session goes on:

async with Client.session(fixed("ws://127.0.0.1:8080/v1/rtc/ws"), tenant="demo") as conversation:
    conversation.say("Hello?")
"""

from rspp.client.call import Call, ConnectionLost, Frame, Ticket
from rspp.client.client import Client
from rspp.client.playout import Playout
from rspp.client.route import ControlPlane, NoRoute, Route, RouteSource, Wanted, fixed
from rspp.client.session import Moved, Patience, Session

__all__ = [
    "Call",
    "Client",
    "ConnectionLost",
    "ControlPlane",
    "Frame",
    "Moved",
    "NoRoute",
    "Patience",
    "Playout",
    "Route",
    "RouteSource",
    "Session",
    "Ticket",
    "Wanted",
    "fixed",
]
