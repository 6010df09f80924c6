"""A certificate is judged from itself alone: whatever is edited in it is found, also by one who makes its digest anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.testing.conformance import Result, pool_strategy
from rspp.testing.conformance.certificate import (
    LOADED,
    CertificateV1,
    Circumstances,
    Name,
    Subject,
    Terms,
    digest_of,
    faults,
    issue,
    read,
    suite_of,
    write,
)
from rspp.testing.conformance.profiles import MANDATORY

PORT = "pool_strategy"
NAMES: tuple[Name, ...] = (LOADED, *((category, name) for category, name, _ in pool_strategy.ROWS))
RUN = Circumstances(
    at="2030-01-01T00:00:00+00:00",
    seconds=1.0,
    repeat=1,
    seed=1,
    time="real",
    rspp="0",
    schema_version="v1.0",
    platform="here",
    python="CPython",
)


def issued(spoiled: dict[str, str] | None = None, mandatory: tuple[str, ...] = ()) -> CertificateV1:
    """A certificate in which all passed but what is named: check -> verdict."""
    verdicts: dict[str, Any] = spoiled or {}
    results = [Result(category, name, verdicts.get(name, "passed")) for category, name in NAMES]
    terms = Terms(mandatory=mandatory or MANDATORY[PORT])
    subject = Subject(named="mine:Mine", sha256="0" * 64)
    return issue(
        port=PORT, target=subject, suite=suite_of(PORT, NAMES), terms=terms, run=RUN, results=results
    )


def resealed(certificate: CertificateV1, **changes: Any) -> CertificateV1:
    """Edited by one who knows how the digest is made."""
    edited = msgspec.structs.replace(certificate, **changes)
    return msgspec.structs.replace(edited, digest=digest_of(edited))


def test_what_passed_everything_is_certified_and_reads_back_as_it_was_written() -> None:
    certificate = issued()
    assert certificate.certified
    assert certificate.missing == ()
    assert read(write(certificate)) == certificate
    assert faults(certificate, NAMES) == []


@pytest.mark.parametrize("verdict", ["failed", "not_run"])
@pytest.mark.parametrize("name", [name for _, name in NAMES])
def test_one_check_that_failed_or_was_not_run_certifies_nothing(name: str, verdict: str) -> None:
    certificate = issued({name: verdict})
    assert not certificate.certified
    assert faults(certificate, NAMES) == []
    category = next(category for category, check in NAMES if check == name)
    assert certificate.missing == (() if category == LOADED[0] else (category,))


def test_a_category_that_does_not_apply_is_omitted_and_certifies_nothing() -> None:
    certificate = issued({"lets no key starve": "not_applicable"})
    assert certificate.categories["fairness"].verdict == "omitted"
    assert certificate.missing == ("fairness",)


@pytest.mark.parametrize("field", ["port", "target", "profile", "run", "certified", "missing", "checks"])
def test_an_edit_by_hand_is_found(field: str) -> None:
    certificate = issued({"lets no key starve": "failed"})
    others: dict[str, Any] = {
        "port": "node",
        "target": Subject(named="other:Other"),
        "profile": Terms(mandatory=MANDATORY[PORT], profile="ours"),
        "run": msgspec.structs.replace(RUN, seed=2),
        "certified": True,
        "missing": (),
        "checks": issued().checks,
    }
    edited = msgspec.structs.replace(certificate, **{field: others[field]})
    assert any("changed after it was written" in fault for fault in faults(edited, NAMES))


FORGED: dict[str, tuple[Callable[[CertificateV1], CertificateV1], str]] = {
    "says that it is certified": (lambda c: resealed(c, certified=True), "its certified does not follow"),
    "has nothing missing": (lambda c: resealed(c, missing=()), "its missing does not follow"),
    "leaves out the check that failed": (lambda c: resealed(c, checks=c.checks[:-1]), "it lacks fairness"),
    "has no checks": (lambda c: resealed(c, checks=()), "it has no checks"),
    "turns a category round": (
        lambda c: resealed(c, categories={**c.categories, "fairness": c.categories["order"]}),
        "its categories does not follow",
    ),
    "says a check twice": (lambda c: resealed(c, checks=(*c.checks[:-1], c.checks[0])), "it lacks fairness"),
    "takes a category from the profile": (
        lambda c: resealed(c, profile=Terms(mandatory=("order", "removal"))),
        "its profile leaves out fairness",
    ),
    "is of another suite": (
        lambda c: resealed(c, suite=suite_of(PORT, NAMES[:-1]), checks=c.checks[:-1]),
        "it is of another suite",
    ),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forgery_with_a_digest_of_its_own_is_found(how: str) -> None:
    forge, why = FORGED[how]
    found = faults(forge(issued({"lets no key starve": "failed"})), NAMES)
    assert any(why in fault for fault in found), found


def test_more_may_be_mandatory_and_is_then_missed() -> None:
    certificate = issued(mandatory=(*MANDATORY[PORT], "tea"))
    assert not certificate.certified
    assert certificate.missing == ("tea",)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff", b'{"schema":"rspp-certificate-v1","x":1}', b"[" * 5_000]
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MisuseError, match="certificate_invalid"):
        read(data)
