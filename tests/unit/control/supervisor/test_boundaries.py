"""The two doors of a supervisor, its probes and its channels, with what does not belong there."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import pytest

from rspp.contract.errors import MisuseError
from rspp.control.supervisor.channel import Channel
from rspp.control.supervisor.probes import CONNECTIONS_MAX, Answer, Probes
from rspp.control.supervisor.words import Accept, Beat, FromChild, State, decode_from_child, line


async def hello() -> Answer:
    return Answer(HTTPStatus.OK, "text/plain", b"hello")


async def broken() -> Answer:
    raise RuntimeError("a page that fails")


async def asked(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


def test_probes_answer_what_they_know_and_refuse_the_rest() -> None:
    async def main() -> None:
        probes = Probes({"/livez": hello, "/broken": broken})
        await probes.start("127.0.0.1", 0)
        port = probes.port
        assert (await asked(port, b"GET /livez?verbose HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\nhello")
        head = await asked(port, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")
        for request, status in (
            (b"GET /../livez HTTP/1.1\r\n\r\n", b"404"),
            (b"POST /livez HTTP/1.1\r\n\r\n", b"405"),
            (b"GET /broken HTTP/1.1\r\n\r\n", b"500"),
            (b"\xff\xfe\x00\r\n\r\n", b"405"),
            (b"GET\r\n\r\n", b"405"),
        ):
            assert (await asked(port, request)).split(b" ")[1] == status, request
        assert await asked(port, b"GET /livez HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n") == b""
        await probes.stop()

    asyncio.run(main())


def test_more_connections_than_there_is_room_for_are_closed_and_a_slow_one_keeps_nobody_waiting() -> None:
    async def main() -> None:
        probes = Probes({"/livez": hello})
        await probes.start("127.0.0.1", 0)
        slow = [await asyncio.open_connection("127.0.0.1", probes.port) for _ in range(CONNECTIONS_MAX - 1)]
        assert (await asked(probes.port, b"GET /livez HTTP/1.1\r\n\r\n")).endswith(b"hello")
        slow.append(await asyncio.open_connection("127.0.0.1", probes.port))
        assert await asked(probes.port, b"GET /livez HTTP/1.1\r\n\r\n") == b""
        for _, writer in slow:
            writer.close()
        await probes.stop()

    asyncio.run(main())


def test_an_address_that_is_taken_is_told_in_words() -> None:
    async def main() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(MisuseError, match="cannot listen"),
        ):
            await Probes({}).start("127.0.0.1", taken.getsockname()[1])

    asyncio.run(main())


def test_lines_that_are_no_words_are_counted_and_those_after_them_are_heard() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        heard: list[FromChild] = []
        channel: Channel[FromChild] = Channel(ours, decode_from_child)
        running = asyncio.create_task(channel.run(heard.append))
        theirs.sendall(
            b"not json\n{}\n" + line(Accept(on=True)) + b"\n" + line(Beat(state=State(sessions=3)))
        )
        theirs.sendall(
            b'{"type":"beat","state":{"sessions":1,"surprise":2}}\n' + line(Beat(state=State()))[:-1]
        )
        theirs.close()
        await asyncio.wait_for(running, 5)
        # The last one has no newline: its sender died in the middle of it, or after it, which is all the same.
        assert [word.state.sessions for word in heard if isinstance(word, Beat)] == [3, 0]
        assert channel.refused == 5
        assert not channel.send(Accept(on=True))

    asyncio.run(main())
