"""Both transports keep one contract: the same checks, with a caller at a real socket and with one without a network."""

from __future__ import annotations

import pytest

from rspp.cli.conformance.peers import loopback, websocket
from rspp.contract.wire import AudioFormat
from rspp.contract.words import Codec
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import Check, parametrize, run_check, run_suite
from rspp.testing.conformance import transport as suite
from rspp.testing.conformance.profiles import certify

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# What a caller without a line cannot do.
WITHOUT_A_LINE = {
    "takes a caller back into its session",
    "gives the line to who came last",
    "takes nobody back into a session that is over",
    "survives garbage",
    "tells that a caller vanished",
}


def test_the_loopback_conforms() -> None:
    report = run_suite(suite.conformance(loopback), "transport", run_virtual)
    assert certify(report).certified, report.reasons()
    assert {one.name for one in report.results if one.verdict == "not_applicable"} == WITHOUT_A_LINE


@parametrize(suite.conformance(websocket))
def test_the_websocket_conforms(check: Check) -> None:
    result = run_check(check)
    assert result.verdict == "passed", result.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        ("json", AudioFormat(codec=Codec.PCM16, rate=48_000)),
        ("json", AudioFormat(codec=Codec.MULAW, rate=8_000)),
        ("msgpack", AudioFormat(codec=Codec.OPUS, rate=48_000)),
    ],
)
@pytest.mark.long
def test_the_websocket_conforms_in_every_format(encoding: str, form: AudioFormat) -> None:
    report = run_suite(suite.conformance(lambda: websocket(encoding, form, exact=False)), "transport")
    assert certify(report).certified, report.reasons()
