"""A package that somebody else has installed is found by its entry points, tried, and certified under its own name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.cli.conformance import here
from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Request
from rspp.cli.verify.conformance import ENGINE
from rspp.cli.verify.engine import Ground
from rspp.testing.conformance.certificate import read
from tests.unit.cli.verify.distributions import install

ROOT = Path(__file__).parents[4]
ADAPTERS = Path(__file__).with_name("adapters.py")
POINTS = """\
[rspp.providers]
beep = beep_voice:kinds
[rspp.nodes]
loud = stranger:Shout
[rspp.conformance.pool_strategy]
forgetful = stranger:Forgets
[rspp.conformance.clock]
late = stranger_that_is_gone:Clock
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with one of somebody else's, on the path of this process and of those that it starts."""
    place = tmp_path / "site-packages"
    files = {
        "stranger.py": ADAPTERS.read_text(),
        "beep_voice.py": (ROOT / "examples/beep-voice/beep_voice.py").read_text(),
        "stranger-1.0.dist-info/entry_points.txt": POINTS,
    }
    install(place, "stranger", files=files)
    (place / "stranger/__init__.py").unlink()
    (place / "stranger").rmdir()
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("site")
def test_what_a_package_offers_is_found_tried_and_named_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "_own", lambda: iter(()))
    offered = {(one.port, one.target): one.lacking for one in here.planned(tmp_path, "quick")}
    assert offered == {
        ("clock", "late"): "",
        ("pool_strategy", "forgetful"): "",
        ("node", "loud"): "",
        ("provider.tts", "beep-voice"): "",
    }
    # The voice is tried in virtual time below: a second, and not ten.
    monkeypatch.setattr(here, "PROVIDER_GROUP", "rspp.nobody")
    told = ENGINE.run(Ground(folder=tmp_path, out=tmp_path / "out", level="quick", say=lambda _: None))
    rows = {row["target"]: row["certified"] for row in told.facts["tried"]}
    assert rows == {"late": False, "forgetful": False, "loud": True}
    assert told.verdict == "fail"
    assert any("there is no module" in one.what or "No module named" in one.what for one in told.found)
    kept = {one.target.named: one.target for one in (read(path.read_bytes()) for path in told.files)}
    assert (kept["loud"].distribution, kept["loud"].version) == ("stranger", "1.0")
    assert kept["loud"].resolved == "stranger:Shout"


@pytest.mark.slow
@pytest.mark.usefixtures("site")
def test_a_kind_of_provider_that_a_package_brings_is_certified_by_its_name(tmp_path: Path) -> None:
    request = Request(port="provider", target="beep-voice", folder=str(tmp_path), scratch="", virtual=True)
    certificate = certified(request).certificate
    assert certificate.certified, [one for one in certificate.checks if one.verdict == "failed"]
    assert certificate.port == "provider.tts"
    assert (certificate.target.distribution, certificate.target.version) == ("stranger", "1.0")
