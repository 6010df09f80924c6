"""A certificate says what was tried, on what, with which suite, and what came of each check; it is judged from itself alone.

Its digest finds an edit; what it says of each category must follow from its checks, and its checks must be those of the suite.
It is no signature: who certifies a stranger's work runs the suite.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from rspp.contract.errors import MisuseError
from rspp.testing.conformance.checks import Report, Result, report_of
from rspp.testing.conformance.profiles import certify, mandatory_of

SCHEMA: Final = "rspp-certificate-v1"
CERTIFICATE_BYTES_MAX: Final = 1 << 20
# What is tried before any suite: without it there is no other check.
LOADED: Final = ("target", "can be loaded and made")

Name = tuple[str, str]  # a category, and the name of one of its checks
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was certified: as it was named, what that came to, and the source it was made of."""

    named: str
    resolved: str = ""  # module:attribute
    made: str = ""  # the class of what was tried
    distribution: str = ""
    version: str = ""
    sha256: str = ""  # over its source files; empty if it could not be loaded
    files: int = 0
    settings: tuple[str, ...] = ()  # their names: values may be secret


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which checks there were."""

    port: str
    options: tuple[str, ...] = ()  # fed, shared: what decides which checks there are
    checks: int
    digest: Digest


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was mandatory, and how patient the suite was. `departs` says where it asked less than the standard."""

    profile: str = "standard"
    mandatory: tuple[str, ...]
    limits: Mapping[str, float] = {}
    departs: tuple[str, ...] = ()

    @property
    def standard(self) -> bool:
        return not self.departs


class Circumstances(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When, where and with what."""

    at: str
    seconds: float
    repeat: int
    seed: int
    time: Literal["real", "virtual"]
    rspp: str
    schema_version: str
    platform: str
    python: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One category."""

    verdict: Literal["passed", "failed", "not_run", "omitted"]
    mandatory: bool
    passed: int = 0
    failed: int = 0
    not_applicable: int = 0
    not_run: int = 0


class CertificateV1(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The document, as it is written."""

    schema: Literal["rspp-certificate-v1"] = "rspp-certificate-v1"
    port: str
    target: Subject
    suite: Suite
    profile: Terms
    run: Circumstances
    certified: bool
    missing: tuple[str, ...]  # mandatory categories that did not pass
    categories: dict[str, Verdict]
    checks: tuple[Result, ...]
    digest: str = ""


def issue(
    *, port: str, target: Subject, suite: Suite, terms: Terms, run: Circumstances, results: Sequence[Result]
) -> CertificateV1:
    """What these results come to, with its digest."""
    report = report_of(port, tuple(results))
    categories = _categories(report, port, terms)
    missing = tuple(name for name, one in categories.items() if one.mandatory and one.verdict != "passed")
    made = CertificateV1(
        port=port,
        target=target,
        suite=suite,
        profile=terms,
        run=run,
        certified=certify(report, port, terms.mandatory).certified,
        missing=missing,
        categories=categories,
        checks=report.results,
    )
    return msgspec.structs.replace(made, digest=digest_of(made))


def _categories(report: Report, port: str, terms: Terms) -> dict[str, Verdict]:
    mandatory = {*mandatory_of(port), *terms.mandatory}
    verdicts: dict[str, Any] = certify(report, port, terms.mandatory).verdicts
    return {name: _verdict(report, name, verdict, name in mandatory) for name, verdict in verdicts.items()}


def _verdict(report: Report, name: str, verdict: Any, mandatory: bool) -> Verdict:
    found = report.categories.get(name)
    if found is None:
        return Verdict(verdict=verdict, mandatory=mandatory)
    return Verdict(
        verdict=verdict,
        mandatory=mandatory,
        passed=found.passed,
        failed=found.failed,
        not_applicable=found.not_applicable,
        not_run=found.not_run,
    )


def digest_of(certificate: CertificateV1) -> str:
    """SHA-256 over everything but the digest itself, in one order."""
    plain = msgspec.json.encode(msgspec.structs.replace(certificate, digest=""), order="sorted")
    return hashlib.sha256(plain).hexdigest()


def suite_of(port: str, names: Sequence[Name], options: Sequence[str] = ()) -> Suite:
    """A suite by the names of its checks, in their order."""
    digest = hashlib.sha256(msgspec.json.encode([port, *names])).hexdigest()
    return Suite(port=port, options=tuple(options), checks=len(names), digest=digest)


def write(certificate: CertificateV1) -> bytes:
    """As a file: sorted, indented, ended."""
    return msgspec.json.format(msgspec.json.encode(certificate, order="sorted"), indent=2) + b"\n"


def read(data: bytes) -> CertificateV1:
    """A file's certificate; raises `MisuseError` for what is none."""
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise MisuseError("certificate_invalid", f"it has more than {CERTIFICATE_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=CertificateV1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MisuseError("certificate_invalid", f"it is no {SCHEMA}: {error}") from None


def faults(certificate: CertificateV1, names: Sequence[Name]) -> list[str]:
    """Why this certificate proves nothing, a sentence each; `names` are the checks that this version's suite has."""
    found: list[str] = []
    digest = digest_of(certificate)
    if certificate.digest != digest:
        found.append(
            f"it was changed after it was written: its digest is {digest[:16]}, and it says {certificate.digest[:16] or 'nothing'}"
        )
    now = suite_of(certificate.port, names, certificate.suite.options)
    if certificate.suite != now:
        found.append(
            f"it is of another suite: the one of this version has {now.checks} checks, digest {now.digest[:16]}"
        )
    listed = [(one.category, one.name) for one in certificate.checks]
    if listed != list(names):
        missing = [f"{category}: {name}" for category, name in names if (category, name) not in listed]
        strange = [f"{category}: {name}" for category, name in listed if (category, name) not in names]
        found.append(_difference(missing, strange))
    found += _inconsistent(certificate)
    return found


def _difference(missing: Sequence[str], strange: Sequence[str]) -> str:
    told = [f"it lacks {', '.join(missing[:3])}"] if missing else []
    told += [f"it has {', '.join(strange[:3])}, which the suite has not"] if strange else []
    return "; ".join(told) or "its checks stand in another order than the suite's, or twice"


def _inconsistent(certificate: CertificateV1) -> list[str]:
    """Where what it concludes does not follow from its checks."""
    if not certificate.checks:
        return ["it has no checks, which prove nothing"]
    lacking = [name for name in mandatory_of(certificate.port) if name not in certificate.profile.mandatory]
    found = [f"its profile leaves out {', '.join(lacking)}, which are mandatory"] if lacking else []
    again = issue(
        port=certificate.port,
        target=certificate.target,
        suite=certificate.suite,
        terms=certificate.profile,
        run=certificate.run,
        results=certificate.checks,
    )
    found += [
        f"its {name} does not follow from its checks"
        for name in ("certified", "missing", "categories")
        if getattr(again, name) != getattr(certificate, name)
    ]
    return found
