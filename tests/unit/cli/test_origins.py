"""Whose pages may open calls."""

from __future__ import annotations

import pytest

from rspp.cli.origins import origins_of


@pytest.mark.parametrize(
    ("host", "port", "encrypted", "origins"),
    [
        (
            "127.0.0.1",
            8700,
            False,
            ("http://127.0.0.1:8700", "http://localhost:8700", "http://[::1]:8700"),
        ),
        ("console.example", 443, True, ("https://console.example",)),
        ("10.0.0.7", 8700, True, ("https://10.0.0.7:8700",)),
        ("2001:db8::7", 80, False, ("http://[2001:db8::7]",)),
        ("0.0.0.0", 8700, True, ()),
        ("::", 8700, True, ()),
    ],
)
def test_a_page_is_known_by_the_origin_that_its_browser_names(
    host: str, port: int, encrypted: bool, origins: tuple[str, ...]
) -> None:
    assert origins_of(host, port, encrypted=encrypted) == origins
