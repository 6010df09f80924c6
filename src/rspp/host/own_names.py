"""By which names a machine is reached from itself, and by no name that somebody else's DNS can lead here."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_this_machine(host: str) -> bool:
    """Is this the `Host` of who asked for this machine by one of its own names? A port may stand with it."""
    try:
        name = (urlsplit(f"http://{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True  # browsers ask no DNS for these
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
