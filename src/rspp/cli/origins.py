"""Whose pages may open calls here: a console's, which is at another address than the calls."""

from __future__ import annotations

from typing import Final

from rspp.control.security.key_folder import is_loopback

# One machine by its three names: whoever types one of them at a browser means the same page.
OWN_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")


def origins_of(host: str, port: int, *, encrypted: bool) -> tuple[str, ...]:
    """As a browser would name a page of that address; none where the address is no browser's, such as every one."""
    scheme, usual = ("https", 443) if encrypted else ("http", 80)
    shown = "" if port == usual else f":{port}"
    if is_loopback(host):
        return tuple(f"{scheme}://{name}{shown}" for name in OWN_NAMES)
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return ()
    return (f"{scheme}://{f'[{host}]' if ':' in host else host}{shown}",)
