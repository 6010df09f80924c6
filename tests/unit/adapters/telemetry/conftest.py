"""What several tests of telemetry need around them."""

from __future__ import annotations

import pytest


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every span arrives, however busy the machine is: the collector is here, and is waited for."""
    monkeypatch.setattr("rspp.adapters.telemetry.otlp.EXPORT_S", 20.0)
    monkeypatch.setattr("rspp.adapters.telemetry.otlp.CLOSE_S", 20.0)
