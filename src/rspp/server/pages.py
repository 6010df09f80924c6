"""The console's page and what belongs to it: files of the package, read once, each at its own address, and nothing else.

Addresses are looked up among those that were read, so no address leads anywhere else on the disk. What is named by its content
is kept by browsers for good; the page itself is asked for each time. The page may run and load only what comes from here.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rspp.contract.errors import MisuseError

FOLDER: Final = Path(__file__).parent / "web"
INDEX: Final = "index.html"
FILES_MAX: Final = 500
BYTES_MAX: Final = 32 * 1024 * 1024
# Smaller ones do not become fewer packets.
COMPRESSED_FROM_BYTES: Final = 1_024
HASHED: Final = re.compile(r"assets/.*-[A-Za-z0-9_-]{8,}\.[a-z0-9.]+")
FOR_GOOD: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
COMPRESSED: Final = frozenset(
    {".html", ".js", ".mjs", ".css", ".json", ".svg", ".wasm", ".txt", ".webmanifest"}
)

# A call's sound goes straight to a worker, which may be any host; everything else comes from here.
DIRECTIVES: Final[Mapping[str, str]] = {
    "default-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "connect-src": "'self' ws: wss:",
    "worker-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
POLICY: Final = "; ".join(f"{name} {sources}" for name, sources in DIRECTIVES.items())
GUARDS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "permissions-policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
UNBUILT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RSPP console</title></head>
<body><h1>The console's page is not built</h1>
<p>In a checkout of the source, run <code>make web</code> and start this command again. It needs Node 20.19 or newer.</p>
<p>Everything else is served: <code>rspp runtime health</code> and <code>rspp control --help</code> ask the same.</p>
</body></html>
"""


class Page(msgspec.Struct, frozen=True):
    """One file as it is answered."""

    data: bytes
    media_type: str
    keep: str
    tag: str
    packed: bytes | None = None

    def answer(self, request: Request) -> Response:
        headers = {**GUARDS, "cache-control": self.keep, "etag": self.tag, "vary": "accept-encoding"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        packs = self.packed is not None and "gzip" in request.headers.get("accept-encoding", "")
        if packs:
            headers["content-encoding"] = "gzip"
        return Response(self.packed if packs else self.data, headers=headers, media_type=self.media_type)


def is_built(folder: Path = FOLDER) -> bool:
    return (folder / INDEX).is_file()


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    """A route for each file, and `/` for the page; raises `MisuseError` for a folder that is no console."""
    if not is_built(folder):
        return [Route("/", _unbuilt, methods=["GET"])]
    routes: list[BaseRoute] = []
    for name, page in _read(folder):
        addresses = ("/", f"/{INDEX}") if name == INDEX else (f"/{name}",)
        routes += [Route(address, _endpoint(page), methods=["GET"]) for address in addresses]
    return routes


def page_of(name: str, data: bytes) -> Page:
    kind = Path(name).suffix
    packed = None
    if kind in COMPRESSED and len(data) >= COMPRESSED_FROM_BYTES:
        packed = gzip.compress(data, mtime=0)
    return Page(
        data,
        TYPES[kind],
        FOR_GOOD if HASHED.fullmatch(name) else ASK_AGAIN,
        f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        packed,
    )


def _read(folder: Path) -> Iterator[tuple[str, Page]]:
    count = size = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in TYPES:
            continue  # a map of the sources, a note of the builder
        data = path.read_bytes()
        count, size = count + 1, size + len(data)
        if count > FILES_MAX or size > BYTES_MAX:
            raise MisuseError(
                "console_unusable", f"the console has more than {FILES_MAX} files or {BYTES_MAX} bytes"
            )
        name = path.relative_to(folder).as_posix()
        yield name, page_of(name, data)


def _endpoint(page: Page) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return page.answer(request)

    return endpoint


async def _unbuilt(_: Request) -> Response:
    return Response(UNBUILT, 503, {**GUARDS, "cache-control": ASK_AGAIN}, media_type=TYPES[".html"])
