"""Between processes both sides show a certificate of the same CA, and a new certificate is taken without an outage. A server of
callers who have none names no CA: it asks for no certificate, and rotates its own all the same.

    plaintext, no certificate, another CA, a certificate that is over or of another name   refused in the handshake or just after

A server's contexts are replaced, not changed: each handshake is done with what was in force when it began, so connections
that run go on with the old certificate, and a CA that was taken out lets nobody in any more. What a client holds is changed in
place where that can be done, because connection pools keep it.

Files are taken only together: certificate, key and CA are read once, and tried before anything uses them. A pair that is half
written, does not fit, or is not in force changes nothing; the old one goes on, and `Tls.trouble` says why.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import ssl
import tempfile
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509

from rspp.contract.errors import MisuseError, PeerFault

REFRESH_MS: Final = 1_000
FILE_BYTES_MAX: Final = 1024 * 1024
_LOG: Final = logging.getLogger(__name__)


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where PEM files are: whom to trust, and who one is. Without a CA nobody is: a server asks callers for no certificate."""

    ca: Path | None = None
    cert: Path
    key: Path


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """The files' contents at one moment."""

    ca: bytes | None
    cert: bytes
    key: bytes

    def __repr__(self) -> str:
        return "_Read()"


class _Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A context for each side, and what both were made of."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    read: _Read


class Tls:
    """One process's identity. `refresh` takes what was put into the files; call it now and then, or let `run` do it."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._taken = _take(_read(files))
        # All that somebody may still hold: one more for each change of the CA.
        self._clients = weakref.WeakSet([self._taken.client])
        self.trouble: str | None = None
        self._front = _server_context(self._taken.read)
        _load(self._front, self._taken.read)
        self._front.sni_callback = self._choose

    @property
    def server(self) -> ssl.SSLContext:
        """For a listening socket, once and for all: each handshake is given what is in force."""
        return self._front

    @property
    def client(self) -> ssl.SSLContext:
        """For connections to others. Whoever keeps it is given new certificates and CAs; only a CA that was taken out is
        forgotten by those alone who ask here anew.
        """
        return self._taken.client

    def refresh(self) -> bool:
        """Take what the files hold now; True if that was something else. Never raises: what is in force goes on."""
        try:
            read = _read(self._files)
            if read == self._taken.read:
                return False
            new = _take(read)
            for client in list(self._clients):
                _load(client, read)  # tried a moment ago
        except MisuseError as error:
            if error.message != self.trouble:
                _LOG.error("the new certificate is not taken, the old one goes on: %s", error.message)
            self.trouble = error.message
            return False
        if read.ca == self._taken.read.ca:
            new = msgspec.structs.replace(new, client=self._taken.client)
        self._clients.add(new.client)
        self._taken, self.trouble = new, None
        return True

    async def run(self, every_ms: int = REFRESH_MS) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.to_thread(self.refresh)
            await asyncio.sleep(every_ms / 1000)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _front: ssl.SSLContext) -> None:
        # Called at the start of every handshake, also of clients who name nobody.
        connection.context = self._taken.server


def peer_names(transport: asyncio.BaseTransport | asyncio.StreamWriter) -> frozenset[str]:
    """The names in the certificate that the peer has shown, and that its CA vouches for."""
    certificate = transport.get_extra_info("peercert") or {}
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    return frozenset(names)


def check_peer(transport: asyncio.BaseTransport | asyncio.StreamWriter, allowed: Collection[str]) -> str:
    """Which of these names the peer has; raises PeerFault if none. A CA vouches for many; not all may call everybody."""
    for name in sorted(peer_names(transport)):
        if name in allowed:
            return name
    raise PeerFault("tls_peer_refused", "the peer's certificate has no name that may call here")


def _server_context(read: _Read) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_NONE if read.ca is None else ssl.CERT_REQUIRED
    # A session that is taken up again shows no certificate, so one that is over or revoked would do.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    return context


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the server's name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _take(read: _Read) -> _Taken:
    """Contexts of what was read; raises `MisuseError` for what cannot be used."""
    _in_force(read.cert)
    server, client = _server_context(read), _client_context()
    _load(server, read)
    _load(client, read)
    return _Taken(server=server, client=client, read=read)


def _load(context: ssl.SSLContext, read: _Read) -> None:
    try:
        with _nameless(read.cert) as cert, _nameless(read.key) as key:
            context.load_cert_chain(cert, key, password=_no_password)
        if read.ca is not None:
            context.load_verify_locations(cadata=read.ca.decode("ascii"))
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise MisuseError("tls_files_unusable", f"certificate, key and CA do not fit: {reason}") from None


@contextmanager
def _nameless(data: bytes) -> Iterator[str]:
    """A path to a copy in a file without a name: what was tried is what is loaded, whatever is written meanwhile."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}"


def _no_password() -> str:
    """A key with a password would make the process ask at its terminal."""
    raise MisuseError(
        "tls_files_unusable", "the private key has a password; keys are kept by file mode instead"
    )


def _in_force(pem: bytes) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise MisuseError("tls_files_unusable", "the certificate is no PEM of one") from None
    now = dt.datetime.now(dt.UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise MisuseError("tls_files_unusable", "the certificate is over, or not yet in force")


def _read(files: TlsFiles) -> _Read:
    ca = None if files.ca is None else _bytes_of(files.ca)
    return _Read(ca=ca, cert=_bytes_of(files.cert), key=_bytes_of(files.key))


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise MisuseError("tls_files_unusable", f"{path.name}: {error.strerror}") from None
    if len(data) > FILE_BYTES_MAX:
        raise MisuseError("tls_files_unusable", f"{path.name} is no PEM file of a usual size")
    return data
