"""A certificate authority of this machine's own, for development and tests: whoever deploys has a real one.

ca.pem, ca-key.pem              made once
<name>.pem, <name>-key.pem      a certificate for both sides of a connection, with its key; replaced whole
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
from pathlib import Path
from secrets import token_hex
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rspp.contract.errors import MisuseError
from rspp.control.security.tls import TlsFiles

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
CA_DAYS: Final = 3_650
DAYS: Final = 30
HOSTS: Final = ("localhost", "127.0.0.1", "::1")


class DevCa:
    """The authority in one folder."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder = folder
        self._certificate = certificate
        self._key = key

    def __repr__(self) -> str:
        return "DevCa()"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(
        self,
        name: str,
        *,
        hosts: tuple[str, ...] = HOSTS,
        days: int = DAYS,
        now: dt.datetime | None = None,
    ) -> TlsFiles:
        """A certificate with this name and these hosts; one that is there already is replaced, key first."""
        if not NAME.fullmatch(name) or name == "ca":
            raise MisuseError(
                "tls_name_invalid", "a certificate's name has 1 to 63 letters, digits, dots, dashes"
            )
        start = now or dt.datetime.now(dt.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name), *map(_host, hosts)])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(name, self._certificate.subject, key, start, days)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )
        files = TlsFiles(ca=self.ca, cert=self.folder / f"{name}.pem", key=self.folder / f"{name}-key.pem")
        _write(files.key, _pem_of(key), 0o600)
        _write(files.cert, certificate.public_bytes(Encoding.PEM), 0o644)
        return files


def dev_ca(folder: Path, name: str = "rspp development CA") -> DevCa:
    """The authority in this folder; made if there is none."""
    cert_file, key_file = folder / "ca.pem", folder / "ca-key.pem"
    if cert_file.exists() and key_file.exists():
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise MisuseError("tls_files_unusable", "this CA was not made here")
        return DevCa(folder, certificate, key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, subject, own, dt.datetime.now(dt.UTC), CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(own, hashes.SHA256())
    )
    _write(key_file, _pem_of(own), 0o600)
    _write(cert_file, certificate.public_bytes(Encoding.PEM), 0o644)
    return DevCa(folder, certificate, own)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: dt.datetime, days: int
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # An hour back: the clocks of two machines are never the same.
        .not_valid_before(start - dt.timedelta(hours=1))
        .not_valid_after(start + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole, or not at all."""
    half = path.with_name(f".{path.name}.{token_hex(4)}")
    number = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(number, "wb") as file:
        file.write(data)
    half.replace(path)
