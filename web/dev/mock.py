"""For development only: a server that looks like a fleet, made of invented figures, so that pages can be worked on alone.

    npm run dev:mock                                      the console with live reload at port 5173
    python dev/mock.py --scene trouble --port 8080        the built console and the invented fleet at one port

It answers `schema.graphql` itself, so that a query which the schema does not know fails here as it does in a real server. The
scene can also be chosen by the token: sign in with healthy, trouble, empty, viewer or broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any, Final

import figures
import socketio
import uvicorn
from graphql import ExecutionResult, GraphQLError, build_schema, graphql_sync
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

WEB: Final = Path(__file__).resolve().parent.parent
BUILT: Final = WEB.parent / "src" / "rspp" / "server" / "web"
SCHEMA: Final = build_schema((WEB / "schema.graphql").read_text())
CHANGE_S: Final = 2.0
POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self' ws: wss:; worker-src 'self'"
)


class Mock:
    """One scene a token, made when the token first comes."""

    def __init__(self, scene: str) -> None:
        self.scene = scene
        self._worlds: dict[str, figures.World] = {}  # bounded: by the scenes
        self.sio = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])
        self.sio.on("connect", self._connected)

    def world(self, token: str) -> figures.World | None:
        name = self.scene if token in ("dev", "") else token
        if name not in figures.SCENES:
            return None
        return self._worlds.setdefault(name, figures.World(name))

    async def graphql(self, request: Request) -> Response:
        world = self.world(token_of(request))
        if world is None:
            return JSONResponse(
                {"code": "unauthenticated", "message": "this token is not valid here, or not any more"}, 401
            )
        if world.scene == "broken":
            return JSONResponse({"code": "store_unavailable", "message": "the store does not answer"}, 503)
        asked = await request.json()
        result = graphql_sync(SCHEMA, asked["query"], world.root(), variable_values=asked.get("variables"))
        return JSONResponse(body_of(result))

    async def change(self) -> None:
        """Something happens every so often, and whoever listens is told."""
        while True:
            await asyncio.sleep(CHANGE_S)
            for world in list(self._worlds.values()):
                for told in world.step():
                    await self.sio.emit("changed", told, room=world.scene)

    async def _connected(self, sid: str, _: dict[str, Any], auth: dict[str, str] | None) -> None:
        world = self.world((auth or {}).get("token") or "?")
        if world is None:
            raise socketio.exceptions.ConnectionRefusedError("unauthenticated")
        await self.sio.enter_room(sid, world.scene)
        await self.sio.emit("at", {"sequence": world.sequence, "after": world.sequence}, to=sid)


def token_of(request: Request) -> str:
    return request.headers.get("authorization", "Bearer ?").partition(" ")[2]


def body_of(result: ExecutionResult) -> dict[str, Any]:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [shown(error) for error in result.errors]
    return body


def shown(error: GraphQLError) -> dict[str, Any]:
    code = "permission_denied" if isinstance(error.original_error, PermissionError) else "query_invalid"
    return {"message": error.message, "extensions": {"code": code}}


class Guarded:
    """The policy that the real server sends, so that what it would refuse is seen here."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)


async def serve(scene: str, port: int, files: Path, with_vite: bool) -> None:
    mock = Mock(scene)
    routes: list[Any] = [Route("/graphql", mock.graphql, methods=["POST"])]
    if not with_vite:
        routes.append(Mount("/", StaticFiles(directory=files, html=True)))
    app = socketio.ASGIApp(mock.sio, Starlette(routes=routes))
    config = uvicorn.Config(Guarded(app), interface="asgi3", port=port, log_level="warning", lifespan="off")
    async with contextlib.AsyncExitStack() as stack:
        if with_vite:
            npx = shutil.which("npx") or "npx"
            vite = await asyncio.create_subprocess_exec(npx, "vite", cwd=WEB)
            stack.callback(vite.terminate)
        changing = asyncio.create_task(mock.change())
        stack.callback(changing.cancel)
        await uvicorn.Server(config).serve()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--scene", choices=figures.SCENES, default="trouble")
    options.add_argument("--port", type=int, default=8080)
    options.add_argument("--files", type=Path, default=BUILT)
    options.add_argument("--with-vite", action="store_true")
    given = options.parse_args()
    asyncio.run(serve(given.scene, given.port, given.files, given.with_vite))


if __name__ == "__main__":
    main()
