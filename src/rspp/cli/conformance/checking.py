"""`rspp conformance check CERT.json`: is it what was written, of this version's suite, and of the source that is here?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import names_of, port_named
from rspp.cli.conformance.runner import run
from rspp.contract.errors import MisuseError
from rspp.testing.conformance.certificate import (
    CERTIFICATE_BYTES_MAX,
    CertificateV1,
    Subject,
    faults,
    read,
)


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a certificate; valid is one with which nothing is. Source: the same, another, or not looked at."""

    valid: bool
    certified: bool
    faults: tuple[str, ...]
    source: str
    certificate: CertificateV1


def check(path: Path, target: str | None, folder: Path, settings: Mapping[str, object]) -> Checked:
    """Look at a certificate, and at the target if it is named; raises `MisuseError` for what is none."""
    try:
        with path.open("rb") as file:
            certificate = read(file.read(CERTIFICATE_BYTES_MAX + 1))
    except OSError as error:
        raise MisuseError(
            "certificate_invalid", f"{path.name}: {error.strerror or 'it cannot be read'}"
        ) from None
    port = port_named(certificate.port)
    found = faults(certificate, names_of(port.name, certificate.suite.options))
    source = "not looked at"
    if target is not None:
        source, why = _source(certificate, target, folder, settings)
        found += [why] if why else []
    return Checked(
        valid=not found,
        certified=certificate.certified and not found,
        faults=tuple(found),
        source=source,
        certificate=certificate,
    )


def _named(subject: Subject) -> str:
    """Which thing of a source it is: one file may hold a good one and a bad one."""
    return f"{subject.resolved} ({subject.made})"


def _source(
    certificate: CertificateV1, target: str, folder: Path, settings: Mapping[str, object]
) -> tuple[str, str]:
    """Is the target made of what was certified? It is loaded and made as it was then, and not tried."""
    port = certificate.port
    request = Request(
        port=port,
        target=target,
        purpose="look",
        folder=str(folder),
        scratch="",
        settings=settings,
        allow_used=True,
    )
    ran = run(request)
    if ran.made is None:
        return "another", f"the target cannot be looked at: {ran.results[0].reason}"
    this, certified = _named(ran.subject), _named(certificate.target)
    if this != certified:
        return "another", f"{target} is {this}, and what was certified is {certified}"
    if not ran.subject.sha256 or not certificate.target.sha256:
        return "unknown", "the source cannot be read, so nothing says that it is the one that was certified"
    if ran.subject.sha256 != certificate.target.sha256:
        now, then = ran.subject.sha256[:16], certificate.target.sha256[:16]
        return (
            "another",
            f"the source of {ran.subject.made} is not the one that was certified: it is {now}, and was {then}",
        )
    return "the same", ""
