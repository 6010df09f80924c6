"""The detectors that need no model keep to the port of providers, in virtual time; those with one are tried beside them."""

from __future__ import annotations

from rspp.adapters.providers.local import providers
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import provider as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.profiles import MANDATORY, certify


def test_the_detector_by_level_conforms() -> None:
    make = providers()["energy-vad"].factory
    report = run_suite(suite.conformance(lambda: make("energy-vad", {})), "provider", run_virtual)
    assert certify(report).certified, report.reasons()


def test_the_one_that_leaves_it_to_the_timeout_conforms_in_all_but_speaking() -> None:
    make = providers()["silence"].factory
    report = run_suite(suite.conformance(lambda: make("silence", {})), "provider", run_virtual)
    # Saying nothing is all that it is for.
    assert report.failed() == ["gives what its modality gives"], report.reasons()
    verdicts = certify(report).verdicts
    assert verdicts == dict.fromkeys(MANDATORY["provider"], "passed") | {"output": "failed"}
