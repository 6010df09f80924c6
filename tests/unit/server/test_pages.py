"""The page is served as it was built, guarded, kept as long as it may be, and nothing else of the disk is."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest

from rspp.contract.errors import MisuseError
from rspp.server.app import assemble
from rspp.server.pages import DIRECTIVES, page_of, page_routes

SCRIPT = "assets/index-DtH0vHg5.js"


def built(folder: Path) -> Path:
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>RSPP</title>" + " " * 2_000)
    (folder / SCRIPT).write_text("console.log(1);" * 500)
    (folder / "assets/icon.svg").write_text("<svg/>")
    (folder / "assets/index-DtH0vHg5.js.map").write_text("{}")
    (folder / ".env").write_text("SECRET=1")
    (folder.parent / "secret.js").write_text("secret")
    return folder


def client(folder: Path) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=assemble(page_routes(folder)))
    return httpx.AsyncClient(transport=transport, base_url="http://console")


def test_the_page_is_asked_for_each_time_and_what_is_named_by_its_content_never_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(built(tmp_path / "web")) as asks:
            page, script = await asks.get("/"), await asks.get(f"/{SCRIPT}")
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["cache-control"] == "no-cache"
            assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert script.headers["content-type"] == "text/javascript; charset=utf-8"
            assert script.text == "console.log(1);" * 500
            assert int(script.headers["content-length"]) < 200
            icon = await asks.get("/assets/icon.svg")
            assert icon.headers["cache-control"] == "no-cache"
            again = await asks.get("/", headers={"if-none-match": page.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            plain = await asks.get(f"/{SCRIPT}", headers={"accept-encoding": "identity"})
            assert "content-encoding" not in plain.headers
            assert len(plain.content) == 7_500
            head = await asks.head("/")
            assert (head.status_code, head.content) == (200, b"")

    asyncio.run(main())


def test_every_answer_carries_the_guards(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(built(tmp_path / "web")) as asks:
            for address in ("/", "/index.html", f"/{SCRIPT}"):
                headers = (await asks.get(address)).headers
                policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
                assert policy == DIRECTIVES
                assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
                assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
                assert "unsafe" not in str(policy)
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["permissions-policy"].startswith("microphone=(self), camera=()")
                assert headers["referrer-policy"] == "no-referrer"
                assert headers["x-frame-options"] == "DENY"

    asyncio.run(main())


def test_nothing_else_of_the_disk_is_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(built(tmp_path / "web")) as asks:
            for address in (
                "/../secret.js",
                "/%2e%2e/secret.js",
                "/assets/../../secret.js",
                "/assets/..%2f..%2fsecret.js",
                "//etc/passwd",
                "/.env",
                "/assets/",
                "/assets/index-DtH0vHg5.js.map",
                "/assets/index-DtH0vHg5.js/",
                "/INDEX.HTML",
            ):
                answer = await asks.get(address)
                assert (address, answer.status_code) == (address, 404)
                assert answer.json()["code"] == "not_found"
            posted = await asks.post("/")
            assert (posted.status_code, posted.json()["code"]) == (405, "method_not_allowed")

    asyncio.run(main())


def test_a_console_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with client(tmp_path / "nothing") as asks:
            answer = await asks.get("/")
            assert answer.status_code == 503
            assert "make web" in answer.text
            assert "content-security-policy" in answer.headers

    asyncio.run(main())


def test_a_folder_that_is_no_console_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.server.pages.FILES_MAX", 2)
    with pytest.raises(MisuseError, match="console_unusable"):
        page_routes(built(tmp_path / "web"))


def test_what_is_sent_packed_is_what_was_built(tmp_path: Path) -> None:
    folder = built(tmp_path / "web")

    page = page_of(SCRIPT, (folder / SCRIPT).read_bytes())
    assert page.packed is not None
    assert gzip.decompress(page.packed) == page.data
