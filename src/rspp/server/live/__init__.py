"""What has changed, told to open consoles over Socket.IO: that something did, and never what it is now.

feed      what one client has still to be told, and how it can tell that it missed some; pure
wire      one WebSocket: how long it may stay without a token, how much it may say, how it is ended
clients   who is connected, what each may hear of, whether it still may
sockets   the Socket.IO server around them
"""
