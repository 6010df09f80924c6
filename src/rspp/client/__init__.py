"""The reference client: one call over a WebSocket, with an honest ear. For tests, demos, and whoever builds a client.

async with Client.connect("ws://127.0.0.1:8080/v1/rtc/ws", tenant="demo") as call:
    await call.send_audio(pcm)
    answer = await call.until(lambda event: isinstance(event, Caption) and event.role == "assistant")
"""

from rspp.client.call import Call, ConnectionLost, Frame, Ticket
from rspp.client.connect import Client
from rspp.client.playout import Playout

__all__ = ["Call", "Client", "ConnectionLost", "Frame", "Playout", "Ticket"]
