"""The engine of conformance: it finds the adapter that breaks its word, and passes nothing that it could not try."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from rspp.cli.conformance import here
from rspp.cli.conformance.here import Planned
from rspp.cli.verify import conformance
from rspp.cli.verify.conformance import ENGINE
from rspp.cli.verify.engine import Ground, Outcome
from rspp.testing.conformance.certificate import read

ADAPTERS = Path(__file__).parents[1] / "conformance" / "adapters.py"


def verified(
    folder: Path, level: Literal["quick", "full"] = "quick", said: list[str] | None = None
) -> Outcome:
    say = (said if said is not None else []).append
    return ENGINE.run(Ground(folder=folder, out=folder / "out", level=level, say=say))


def project(folder: Path, *rows: str) -> Path:
    (folder / "mine.py").write_bytes(ADAPTERS.read_bytes())
    listed = ", ".join(rows)
    (folder / "pyproject.toml").write_text(f"[tool.rspp.verify]\nconformance = [{listed}]\n")
    return folder


@pytest.fixture
def project_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes with RSPP is left out."""
    monkeypatch.setattr(here, "_own", lambda: iter(()))


@pytest.mark.slow
@pytest.mark.usefixtures("project_alone")
def test_a_projects_adapters_are_tried_and_the_one_that_breaks_its_word_is_named(tmp_path: Path) -> None:
    folder = project(
        tmp_path,
        '"pool_strategy rspp.host.pools:Fair"',
        '{port = "pool_strategy", target = "mine.py:Forgets"}',
        '{port = "clock", target = "mine.py:Clock", level = "full"}',
        '"clock mine.py:Clok"',
    )
    outcome = verified(folder)
    assert outcome.verdict == "fail"
    assert [row["target"] for row in outcome.facts["tried"]] == [
        "rspp.host.pools:Fair",
        "mine.py:Forgets",
        "mine.py:Clok",
    ]
    assert {fault.where for fault in outcome.found} == {"mine.py:Forgets", "mine.py:Clok"}
    first = outcome.found[0]
    assert first.what.startswith(
        "pool_strategy mine.py:Forgets: order: gives each piece once, and then nothing: "
    )
    assert first.fix.endswith("rspp conformance pool_strategy mine.py:Forgets --only order")
    assert "has no 'Clok'" in outcome.found[-1].what
    certificates = [read(path.read_bytes()) for path in outcome.files]
    assert [one.certified for one in certificates] == [True, False]
    assert len({*outcome.files}) == 2


def test_one_target_with_two_settings_has_two_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Planned(port="clock", target="mine.py:Clock", settings={"n": number}) for number in (1, 2)]
    monkeypatch.setattr(conformance, "write", lambda _: b"{}")
    made: Any = object()
    tried = [conformance.Tried(one=one, certificate=made) for one in rows]
    assert len({conformance._kept(tmp_path, number, one) for number, one in enumerate(tried)}) == 2


@pytest.mark.usefixtures("project_alone")
def test_where_nothing_could_be_tried_nothing_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = verified(project(tmp_path))
    assert (outcome.verdict, outcome.found[0].what) == (
        "fail",
        "nothing could be tried, so nothing is proven",
    )
    lacking = Planned(port="provider.stt", target="local-whisper", lacking="missing model tiny")
    monkeypatch.setattr(here, "_own", lambda: iter((lacking,)))
    outcome = verified(project(tmp_path))
    assert outcome.verdict == "fail"
    assert outcome.facts["skipped"] == [
        {"port": "provider.stt", "target": "local-whisper", "why": "missing model tiny"}
    ]


@pytest.mark.parametrize(
    "rows",
    [
        "conformance = 7",
        'conformance = ["teapot mine.py:x"]',
        'conformance = ["clock"]',
        'conformance = [{port = "clock"}]',
        'conformance = [{port = "clock", target = "x:y", laud = 1}]',
        "conformance = [",
    ],
)
def test_a_list_that_cannot_be_read_fails_and_says_where(rows: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.rspp.verify]\n{rows}\n")
    outcome = verified(tmp_path)
    assert outcome.verdict == "fail"
    assert outcome.found[0].where == "pyproject.toml"


def test_a_row_may_carry_settings(tmp_path: Path) -> None:
    folder = project(tmp_path, "\"node mine.py:Shout marks=2 word='two words'\"")
    (row,) = here.of_project(folder)
    assert (row.port, row.target) == ("node", "mine.py:Shout")
    assert row.settings == {"marks": 2, "word": "two words"}


def test_what_a_level_tries_of_our_own_is_there_and_the_full_one_tries_more(tmp_path: Path) -> None:
    quick = {(one.port, one.target) for one in here.planned(tmp_path, "quick")}
    full = {(one.port, one.target) for one in here.planned(tmp_path, "full")}
    assert quick < full
    assert {port.partition(".")[0] for port, _ in quick} == {
        "node", "clock", "lane_scheduler", "pool_strategy", "recorder", "store", "transport", "provider",
    }  # fmt: skip
    assert {("transport", "websocket"), ("store", "nats"), ("provider.tts", "local-hibari")} <= full
    assert ENGINE.levels == {"quick", "full"}
    assert ENGINE.fail_code == "adapter_nonconforming"


@pytest.mark.slow
@pytest.mark.long
def test_everything_that_comes_with_rspp_keeps_to_its_port(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = verified(tmp_path, "full", said)
    assert outcome.verdict == "pass", outcome.found
    assert conformance.AT_ONCE == 2
    assert "store nats" in said
