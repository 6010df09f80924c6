"""The numbers of the WebSocket transport. Each bound says what happens beyond it."""

from __future__ import annotations

import msgspec

from rspp.contract.wire import PATH
from rspp.contract.words import DropSide


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to listen, and how much of what to bear. Milliseconds, bytes, or a count."""

    host: str = "127.0.0.1"
    port: int = 8080  # 0 takes any free one
    path: str = PATH
    # Pages of these origins may open sockets, besides pages of our own address and clients that are no browsers. "*": all.
    origins: tuple[str, ...] = ()
    # Where nobody is asked for a token: who asks for another name than this machine's own is refused. A page of a stranger can
    # have its name lead to 127.0.0.1, and would be a page of our own address then.
    own_names_only: bool = False

    # New sockets. Beyond either, a socket is closed at once, before it costs a session.
    connections_max: int = 1_000
    connects_per_second: int = 100
    connects_burst: int = 200
    handshake_ms: int = 5_000
    hello_ms: int = 5_000

    # What a client may send. Beyond: the socket is closed and the session ends.
    message_bytes_max: int = 65_536
    messages_per_second: int = 200  # four times what 20 ms frames need
    messages_burst: int = 2_000  # a line that hung for half a minute may catch up
    bytes_per_second: int = 400_000  # four times 48 kHz
    bytes_burst: int = 4_000_000
    # What is kept of a client that speaks while its session is being asked for. Beyond either: closed as a flood.
    early_messages_max: int = 512  # `hello_ms` of frames, and its messages
    early_bytes_max: int = 1_000_000
    faults_max: int = 16  # messages refused; one is forgiven a second
    replays_max: int = 16
    stale_frames_max: int = 100  # two seconds in which a client may not have heard of a new epoch

    # What the operating system may hold of it. What is there is read and dealt with at once, so this is also how long one
    # client may keep everybody's loop: a hundred frames.
    socket_receive_bytes: int = 65_536

    # Audio on its way in: frames out of order that wait for those before them, and frames the session had no room for.
    reorder_frames_max: int = 3
    held_frames_max: int = 50
    held_drop: DropSide = DropSide.OLDEST

    # Audio on its way out, waiting in this process. Beyond the first bound frames are dropped and counted; a client that
    # stays beyond it, or ever passes the second, is closed.
    write_bytes_max: int = 65_536
    write_bytes_last: int = 1_048_576
    slow_reader_ms: int = 5_000
    socket_send_bytes: int = 65_536  # what the operating system may hold besides

    keepalive_ms: int = 10_000  # nothing heard: ask
    keepalive_deadline_ms: int = 20_000  # nothing heard still: the line is dead
    close_ms: int = 1_000  # what a client has to answer a close

    session_rate: int = 16_000  # what pipelines hear
    compression: bool = False
    compression_bytes_min: int = 128  # below this, a message only grows
    sweep_ms: int = 100  # how often deadlines and allowances are looked at
