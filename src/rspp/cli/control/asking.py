"""Whom a command asks: a control plane over HTTP, with a token, or the store itself, as whoever is logged in.

--server URL --token REFERENCE     else $RSPP_CONTROL and $RSPP_TOKEN; the token is named, never typed: env://, file://
--store URL                        directly, without a server: the audit log then says os:<user>, because nobody else
has said who this is; where both are in the environment the server is asked
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import click
import httpx
import msgspec

from rspp.contract.errors import PeerFault, RsppError
from rspp.control.operations.calling import call
from rspp.control.operations.operation import Operation
from rspp.control.plane import opened_plane, os_principal
from rspp.host.secrets import Secrets
from rspp.server.state import told

SERVER_VARIABLE: Final = "RSPP_CONTROL"
TOKEN_VARIABLE: Final = "RSPP_TOKEN"
STORE_VARIABLE: Final = "RSPP_STORE"
KEYS_VARIABLE: Final = "RSPP_KEYS"
CONNECT_S_MAX: Final = 10.0
# Longer than the longest that an operation waits for a worker, and than a restore may take.
ANSWER_S_MAX: Final = 150.0
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Whom(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask, from the options and the environment."""

    server: str | None = None
    token: str | None = None
    store: str | None = None
    keys: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


class Answered(RsppError):  # noqa: N818
    """The control plane said no: its own code and sentence."""

    def __init__(self, fault: Mapping[str, Any]) -> None:
        super().__init__(str(fault["code"]), str(fault["message"]), fault.get("path"))
        self.retry_after_ms = fault.get("retry_after_ms")


def ask(whom: Whom, operation: Operation, fields: Mapping[str, Any]) -> Any:
    """What the operation answers, as plain data; raises `click.ClickException` that says what to do."""
    try:
        if whom.store is not None:
            return asyncio.run(_of_store(whom, whom.store, operation, fields))
        return asked_of_server(whom, operation, fields)
    except RsppError as error:
        raise click.ClickException(worded(error)) from error


def worded(error: RsppError) -> str:
    """The error for a person: what, where, and the next step."""
    text = f"{error.code}: {error.message}"
    if error.path:
        text += f" (field {error.path})"
    retry = getattr(error, "retry_after_ms", None)
    if retry is not None:
        text += f"; try again in {retry / 1000:g} s"
    return f"{text}{NEXT_STEPS.get(error.code, '')}"


# What a person does next, where the sentence of the error does not say it.
NEXT_STEPS: Final[Mapping[str, str]] = {
    "unauthenticated": f". Set ${TOKEN_VARIABLE}, or --token env://NAME or file:///PATH, to a token that is in force",
    "permission_denied": ". Ask an admin for a role: rspp control principals grant --help",
    "approval_missing": ". Propose it: rspp control approvals propose --help; somebody else approves; then say it again",
    "not_found": ". Look at the names with `list`; what is another tenant's is not shown",
}


async def _of_store(whom: Whom, url: str, operation: Operation, fields: Mapping[str, Any]) -> Any:
    asked = msgspec.convert(fields, operation.request)
    async with opened_plane(url, keys=whom.keys, within=told) as plane:
        answer = await call(plane, os_principal(), operation, asked)
    return msgspec.to_builtins(answer)


def asked_of_server(whom: Whom, operation: Operation, fields: Mapping[str, Any]) -> Any:
    """What the server answers to the operation, as plain data; raises the `RsppError` that it answers."""
    path = operation.path
    for name in operation.path_fields:
        path = path.replace(f"{{{name}}}", quote(str(fields[name]), safe=""))
    rest = {name: value for name, value in fields.items() if name not in operation.path_fields}
    return request(whom, operation.method, path, rest)


def request(whom: Whom, method: str, path: str, fields: Mapping[str, Any]) -> Any:
    """What the server answers, as plain data; raises the `RsppError` that it answers, or that it does not."""
    url = whom.server
    if not url:
        raise click.UsageError(
            f"Say which control plane: --server URL or ${SERVER_VARIABLE}; or --store URL to work on its store directly."
        )
    if "@" in urlsplit(url).netloc:
        raise click.UsageError(
            "The control plane's address holds a password or a name: leave that out, and say --token."
        )
    headers = {"authorization": f"Bearer {_token(whom, url)}"}
    said: dict[str, Any] = {"params": fields} if method == "GET" else {"json": fields}
    try:
        timeout = httpx.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX)
        with httpx.Client(timeout=timeout, verify=_tls(whom, url), trust_env=False) as client:
            response = client.request(method, url.rstrip("/") + path, headers=headers, **said)
    except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
        message = f"{url} took the request and gave no answer ({type(error).__name__}): it may have been done all the same"
        raise PeerFault("control_unreachable", message) from error
    except httpx.HTTPError as error:
        message = f"{url} cannot be reached ({type(error).__name__}). Does `rspp control serve` run there?"
        raise PeerFault("control_unreachable", message) from error
    return _read(response, url)


def _read(response: httpx.Response, url: str) -> Any:
    try:
        said = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerFault("control_unreadable", f"{url} does not answer like a control plane") from error
    if response.status_code == 200 or (isinstance(said, dict) and isinstance(said.get("errors"), list)):
        return said  # GraphQL says in its own words what it refuses
    if not isinstance(said, dict) or not {"code", "message"} <= set(said):
        raise PeerFault(
            "control_unreadable", f"{url} answers {response.status_code}, not like a control plane"
        )
    raise Answered(said)


def _token(whom: Whom, url: str) -> str:
    """The secret that is named; it does not go over an open line."""
    reference = whom.token or (f"env://{TOKEN_VARIABLE}" if os.environ.get(TOKEN_VARIABLE) else None)
    if reference is None:
        raise click.UsageError(f"Say who you are: ${TOKEN_VARIABLE}, or --token env://NAME or file:///PATH.")
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise click.UsageError(
            f"{url} would send the token in the open. Use https://, or a server on this machine."
        )
    return Secrets().resolve(reference).reveal()


def _tls(whom: Whom, url: str) -> ssl.SSLContext | bool:
    """Whom to trust; for a server on this machine without TLS the authorities need not be read."""
    if not url.startswith("https:"):
        return False
    context = ssl.create_default_context(cafile=None if whom.ca is None else str(whom.ca))
    if whom.cert is not None:
        context.load_cert_chain(str(whom.cert), None if whom.key is None else str(whom.key))
    return context
