"""Ports that are free now."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """All held at once, so that no two are the same."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def consecutive_ports(count: int) -> int:
    """The first of so many ports, one after the other, that are free now."""
    for first in free_ports(64):
        held: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                held.append(socket.create_server(("127.0.0.1", port)))  # noqa: PERF401 - the rest are closed
        except (OSError, OverflowError):
            continue
        finally:
            for one in held:
                one.close()
        return first
    raise AssertionError(f"no {count} ports in a row are free")
