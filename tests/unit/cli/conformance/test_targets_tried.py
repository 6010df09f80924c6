"""Other people's adapters in processes of their own: the good are certified, the bad are refused with the check named.

The smallest port stands for all where it is about processes; what is tried with larger suites takes its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rspp.cli.conformance import process, runner
from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import names_of
from rspp.testing.conformance.certificate import LOADED, CertificateV1, faults

pytestmark = pytest.mark.slow  # each is a process

ADAPTERS = Path(__file__).with_name("adapters.py")
LONG = pytest.mark.long
# What never comes back is waited for a moment, and not for the seconds that others may need on a busy machine.
GRACE_S = 0.3
KEY = "sk-a-key-that-nobody-may-see"
VIRTUAL = {"virtual": True}
# What is tried, and how.
TARGETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Clock": ("clock", {}),
    "Exits": ("clock", {}),
    "Hangs": ("clock", {"check_s_max": 0.5}),
    "Half": ("clock", {}),
    "exits": ("clock", {}),
    "raises": ("clock", {}),
    "open_in": ("store", {}),
    "loses_races": ("store", {"only": ("compare_and_set",)}),
    "speaker": ("provider", {"virtual": True, "settings": {"ms_per_character": 5}}),
    "goes_on": ("provider.tts", VIRTUAL),
    "Keyed": ("provider.llm", VIRTUAL),
    "Shout": ("node", {"settings": {"marks": 2}}),
    "Unordered": ("node", {}),
    "Lookup": ("async_node", VIRTUAL),
    "Swallows": ("async_node", VIRTUAL),
    "Forgets": ("pool_strategy", {}),
}


def request_for(name: str, **changes: Any) -> Request:
    port, given = TARGETS[name]
    fields = {"port": port, "target": f"{ADAPTERS}:{name}", "folder": str(ADAPTERS.parent), "scratch": ""}
    return Request(**{**fields, **given, **changes})


Tried = Callable[[str], CertificateV1]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    """What came of a target, which is run when it is first asked for."""
    secret = tmp_path_factory.mktemp("secrets") / "key"
    secret.write_text(KEY)
    more: dict[str, dict[str, Any]] = {"Keyed": {"settings": {"api_key": f"file://{secret}"}}}

    @cache
    def run(name: str) -> CertificateV1:
        grace = GRACE_S if name == "Hangs" else process.GRACE_S
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(runner, "GRACE_S", grace)
            return certified(request_for(name, **more.get(name, {}))).certificate

    return run


def failed(certificate: CertificateV1) -> dict[str, str]:
    return {one.name: one.reason for one in certificate.checks if one.verdict == "failed"}


def verdicts(certificate: CertificateV1) -> dict[str, str]:
    return {one.name: one.verdict for one in certificate.checks}


@pytest.mark.parametrize(
    "name",
    ["Clock", *(pytest.param(name, marks=LONG) for name in ("open_in", "speaker", "Shout", "Lookup"))],
)
def test_one_that_keeps_its_word_is_certified(tried: Tried, name: str) -> None:
    certificate = tried(name)
    assert certificate.certified, failed(certificate)
    assert certificate.missing == ()
    assert faults(certificate, names_of(certificate.port, certificate.suite.options)) == []
    assert len(certificate.target.sha256) == 64
    assert certificate.target.settings == tuple(TARGETS[name][1].get("settings", {}))


@LONG
def test_a_provider_is_certified_as_what_it_says_it_is(tried: Tried) -> None:
    assert tried("speaker").port == "provider.tts"
    assert tried("speaker").categories["backpressure"].mandatory


@LONG
def test_a_store_that_its_folder_opens_again_is_tried_by_several(tried: Tried) -> None:
    assert tried("open_in").suite.options == ("shared",)
    assert tried("open_in").categories["shared"].passed == 4


def test_what_a_target_prints_is_no_result(tried: Tried) -> None:
    assert {one.verdict for one in tried("Clock").checks} == {"passed"}


def test_one_that_ends_the_process_fails_that_check_and_passes_none_after(
    tried: Tried,
) -> None:
    first, *rest = [one for one in tried("Exits").checks if (one.category, one.name) != LOADED]
    assert (first.verdict, first.reason) == ("failed", "it ended its process, with status 0")
    assert {one.verdict for one in rest} == {"not_run"}
    assert not tried("Exits").certified
    assert {tried("Exits").categories[name].verdict for name in ("order", "pace")} == {"not_run"}


def test_one_that_never_comes_back_fails_that_check_and_passes_none_after(
    tried: Tried,
) -> None:
    assert "never came back" in failed(tried("Hangs"))["counts whole nanoseconds"]
    assert set(verdicts(tried("Hangs")).values()) == {"passed", "failed", "not_run"}
    assert tried("Hangs").missing == ("units", "order", "pace")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("exits", "while it was loaded, it ended its process, with status 3"),
        pytest.param("raises", "making it raised OSError: no such device", marks=LONG),
        ("Half", "its Half has no wall"),
    ],
)
def test_one_that_cannot_be_made_or_lacks_a_method_fails_and_proves_nothing(
    tried: Tried, name: str, why: str
) -> None:
    certificate = tried(name)
    assert failed(certificate) == {LOADED[1]: why}
    assert not certificate.certified
    assert certificate.missing == ("units", "order", "pace")


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param("Forgets", "gives each piece once, and then nothing", marks=LONG),
        ("loses_races", "lets one of many win"),
        pytest.param("goes_on", "acknowledges a hard cancel once, and is silent", marks=LONG),
        pytest.param("Unordered", "gives the same in another process", marks=LONG),
        pytest.param("Swallows", "acknowledges a soft cancel once, and is silent", marks=LONG),
    ],
)
def test_one_that_breaks_its_word_is_refused_with_the_check_named(
    tried: Tried, name: str, check: str
) -> None:
    certificate = tried(name)
    assert not certificate.certified
    assert check in failed(certificate)
    category = next(one.category for one in certificate.checks if one.name == check)
    assert certificate.categories[category].verdict == "failed"
    assert category in certificate.missing


def test_a_part_of_a_suite_certifies_nothing(tried: Tried) -> None:
    asked = {one.category for one in tried("loses_races").checks if one.verdict != "not_run"}
    assert asked == {"compare_and_set", "target"}


@LONG
def test_no_secret_stands_in_a_certificate(tried: Tried) -> None:
    reasons = list(failed(tried("Keyed")).values())
    assert any("[redacted] was refused" in reason for reason in reasons)
    assert not any(KEY in reason for reason in reasons)
    assert tried("Keyed").target.settings == ("api_key",)
