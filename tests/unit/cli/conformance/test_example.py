"""The example of somebody else's adapter is certified as it stands, and is not when its cancellation is taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.cli.conformance.here import of_project
from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Request
from rspp.testing.conformance.certificate import CertificateV1

pytestmark = pytest.mark.slow  # processes

EXAMPLE = Path(__file__).parents[4] / "examples" / "beep-voice"


def certificate(folder: Path) -> CertificateV1:
    (row,) = of_project(EXAMPLE)
    request = Request(
        port=row.port, target=row.target, settings=row.settings, folder=str(folder), scratch="", virtual=True
    )
    return certified(request).certificate


def test_it_is_certified_by_what_its_own_project_lists() -> None:
    found = certificate(EXAMPLE)
    assert found.certified, [one for one in found.checks if one.verdict == "failed"]
    assert found.port == "provider.tts"


@pytest.mark.long
def test_without_its_question_about_stopping_a_cancel_is_missed(tmp_path: Path) -> None:
    source = (EXAMPLE / "beep_voice.py").read_text()
    asks = "            if call.stopping:\n                return\n"
    assert asks in source
    (tmp_path / "beep_voice.py").write_text(source.replace(asks, ""))
    found = certificate(tmp_path)
    assert found.missing == ("cancellation",)
