"""Certification gives a verdict for each mandatory category, and takes no suite that leaves one out."""

from __future__ import annotations

import pytest

from rspp.contract.errors import MisuseError
from rspp.testing import scripted
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import Check, NotApplicableError, Report, provider, require, run_suite
from rspp.testing.conformance.profiles import MANDATORY, certify


def report_of(kind: str, without: str = "", **faults: object) -> Report:
    checks = provider.conformance(lambda: scripted.make(kind, faults=faults))
    return run_suite([check for check in checks if check.category != without], "provider", run_virtual)


@pytest.mark.parametrize("modality", ["stt", "llm", "tts"])
def test_a_provider_that_keeps_its_word_is_certified(modality: str) -> None:
    certificate = certify(report_of(f"scripted-{modality}"), f"provider.{modality}")
    assert certificate.certified
    assert set(certificate.verdicts.values()) == {"passed"}


def test_one_broken_behaviour_fails_its_category_alone() -> None:
    certificate = certify(report_of("scripted-tts", cancel="ignore"), "provider.tts")
    assert not certificate.certified
    assert [name for name, verdict in certificate.verdicts.items() if verdict != "passed"] == ["cancellation"]


@pytest.mark.parametrize("category", MANDATORY["provider.stt"])
def test_a_suite_that_leaves_a_category_out_is_refused(category: str) -> None:
    certificate = certify(report_of("scripted-stt", without=category), "provider.stt")
    assert not certificate.certified
    assert certificate.verdicts[category] == "omitted"


def test_a_category_in_which_nothing_applies_proves_nothing() -> None:
    async def excused() -> None:
        raise NotApplicableError("never")

    async def sound() -> None:
        require(True, "")

    report = run_suite(
        [Check("order", "a", excused), Check("removal", "b", sound), Check("fairness", "c", sound)]
    )
    assert not report.conforms
    assert certify(report, "pool_strategy").verdicts["order"] == "omitted"


def test_a_port_without_a_profile_and_a_suite_without_checks_are_refused() -> None:
    with pytest.raises(MisuseError, match="no profile for the port 'teapot'"):
        certify(report_of("scripted-vad"), "teapot")
    with pytest.raises(MisuseError, match="suite_empty"):
        run_suite([])
