"""Contract, replay, simulator and gates find what they are there for, each with where it is and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rspp.cli.schema import INDEX, SUFFIX
from rspp.cli.verify import contract, gates, replay, simulator
from rspp.cli.verify.engine import Engine, Ground, Level, Outcome
from rspp.cli.verify.ground import is_checkout
from rspp.contract.code_rule import CodeRule
from rspp.contract.codes import CODES
from rspp.contract.schema import schemas
from rspp.sim.mutants import MUTANTS
from rspp.sim.mutants import Outcome as Hunted
from rspp.sim.run import Report, run_sessions
from rspp.spec.reference import pages
from rspp.timeline.gates.report import Overhead, Violation, sealed

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ROOT: Final = Path(__file__).parents[4]
JOURNALS: Final = ROOT / "tests/replay/journals"
GOOD: Final = "pipeline: shop\nversion: v1\ntemplate: voice\nproviders: {stt: scripted-stt, llm: scripted-llm, tts: scripted-tts}\n"


def ground(folder: Path, level: Level = "quick", **options: Any) -> Ground:
    out = folder.parent / "out"
    out.mkdir(exist_ok=True)
    return Ground(folder=folder, out=out, level=level, say=lambda _: None, options=options)


def ran(engine: Engine, at: Ground) -> Outcome:
    assert engine.applies is None or engine.applies(at)
    return engine.run(at)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As much of a checkout as the contract's checks look at."""
    folder = tmp_path_factory.mktemp("released") / "rspp"
    for name, text in pages().items():
        path = folder / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    home = folder / contract.RELEASED
    home.mkdir(parents=True)
    for name, schema in schemas().items():
        (home / f"{name}{SUFFIX}").write_bytes(msgspec.json.encode(schema))
    (home / INDEX).write_bytes(msgspec.json.encode([{"name": name} for name in schemas()]))
    (folder / "src/rspp").mkdir(parents=True)
    (folder / "src/rspp/__init__.py").write_text('raise MisuseError("malformed", "no")\n')
    (folder / "pyproject.toml").touch()
    return folder


@pytest.fixture
def checkout(tmp_path: Path, released: Path) -> Path:
    folder = shutil.copytree(released, tmp_path / "rspp")
    assert is_checkout(folder)
    return folder


# ---- contract --------------------------------------------------------------------------------------------------------


CHECKS: Final = (contract.schemas_kept, contract.pages_current, contract.codes_told, contract.specs_compile)


def told(at: Ground, *checks: contract.Check) -> list[str]:
    return [f"{found.where}: {found.what}" for check in checks for found in check(at)]


def test_a_checkout_as_it_was_released_is_not_found_fault_with(checkout: Path) -> None:
    assert told(ground(checkout), *CHECKS) == []


def narrower(folder: Path) -> None:
    path = folder / contract.RELEASED / f"audio{SUFFIX}"
    schema = msgspec.json.decode(path.read_bytes())
    schema["properties"]["volume"] = {"type": "integer"}
    path.write_bytes(msgspec.json.encode(schema))


def fewer(folder: Path) -> None:
    path = folder / contract.RELEASED / f"audio{SUFFIX}"
    path.with_name(f"video{SUFFIX}").write_bytes(path.read_bytes())


def gone(folder: Path) -> None:
    (folder / contract.RELEASED / f"audio{SUFFIX}").unlink()


def unlisted(folder: Path) -> None:
    (folder / contract.RELEASED / INDEX).write_text("{")


def torn(folder: Path) -> None:
    (folder / contract.RELEASED / f"plan{SUFFIX}").write_text("{")


def none(folder: Path) -> None:
    shutil.rmtree(folder / contract.RELEASED)


def stale(folder: Path) -> None:
    path = folder / "docs/reference/codes.md"
    path.write_text(path.read_text() + "more\n")


def untold(folder: Path) -> None:
    (folder / "src/rspp/other.py").write_text('\nraise PeerFault("never_heard_of", "no")\n')


def broken(folder: Path) -> None:
    (folder / "shop.yaml").write_text(GOOD.replace("voice", "dance"))


def warned(folder: Path) -> None:
    (folder / "layers").mkdir()
    (folder / "layers/prod.yaml").write_text("policies: {no_such_policy: {}}\n")


@pytest.mark.parametrize(
    ("plant", "check", "where"),
    [
        (narrower, contract.schemas_kept, "audio: volume: a breaking change"),
        (fewer, contract.schemas_kept, "video: the root: a breaking change (schema_removed)"),
        (
            gone,
            contract.schemas_kept,
            "tests/contract/released/audio.schema.json: it was released and is gone",
        ),
        (unlisted, contract.schemas_kept, "tests/contract/released/index.json: it cannot be read"),
        (torn, contract.schemas_kept, "tests/contract/released/plan.schema.json: it is no JSON Schema"),
        (none, contract.schemas_kept, "tests/contract/released: there are no released schemas"),
        (stale, contract.pages_current, "docs/reference/codes.md: the page is stale"),
        (
            untold,
            contract.codes_told,
            "src/rspp/other.py:2: the code never_heard_of is raised and is in no table",
        ),
        (broken, contract.specs_compile, "shop.yaml:3:"),
        (warned, contract.specs_compile, "layers/prod.yaml:1:"),
    ],
)
def test_what_is_planted_into_the_contract_is_found_where_it_is(
    checkout: Path, plant: Callable[[Path], None], check: contract.Check, where: str
) -> None:
    plant(checkout)
    found = told(ground(checkout), check)
    assert len(found) == 1, found
    assert found[0].startswith(where)


def test_a_code_without_a_remedy_is_found(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "CODES", {**CODES, "malformed": CodeRule("What it means.", " ")})
    assert [found.what for found in contract.codes_told(ground(checkout))] == [
        "the code malformed has no meaning or no remedy"
    ]


def test_an_import_that_goes_up_is_found(tmp_path: Path) -> None:
    """Two rooms, and the lower one reaches for the upper."""
    folder = tmp_path / "two_rooms"
    for name, text in {
        "tworooms/__init__.py": "",
        "tworooms/upper.py": "",
        "tworooms/lower.py": "import tworooms.upper\n",
        "pyproject.toml": '[tool.importlinter]\nroot_package = "tworooms"\n[[tool.importlinter.contracts]]\nname = "down"\n'
        'type = "layers"\nlayers = ["tworooms.upper", "tworooms.lower"]\n',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (found,) = contract.layers_ordered(ground(folder))
    assert "tworooms.lower -> tworooms.upper" in found.what
    (folder / "tworooms/lower.py").write_text("")
    assert list(contract.layers_ordered(ground(folder))) == []


def test_a_project_is_asked_for_its_pipelines_and_nothing_of_a_checkout(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    assert not contract.applies(ground(folder))
    (folder / "shop.yaml").write_text(GOOD)
    outcome = ran(contract.ENGINE, ground(folder))
    assert (outcome.verdict, outcome.facts) == ("pass", {"specs": 0, "pipelines": 1, "layers": 0})
    (folder / "shop.yaml").write_text("pipeline: [\n")
    assert ran(contract.ENGINE, ground(folder)).verdict == "fail"


# ---- replay ----------------------------------------------------------------------------------------------------------


def corpus(folder: Path, *names: str) -> Path:
    home = folder / "shop/recordings"
    home.mkdir(parents=True)
    for name in names:
        shutil.copy(JOURNALS / name, home / name)
    return folder / "shop"


def test_recordings_that_come_again_pass_and_one_that_is_corrupt_is_named(tmp_path: Path) -> None:
    folder = corpus(tmp_path, "plain.rspp")
    assert ran(replay.ENGINE, ground(folder)).verdict == "pass"
    path = folder / "recordings/plain.rspp"
    path.write_bytes(path.read_bytes()[:-100])
    outcome = ran(replay.ENGINE, ground(folder))
    assert outcome.verdict == "fail"
    assert [(one.where, one.what.split(":")[0]) for one in outcome.found] == [
        ("recordings/plain.rspp", "its end is missing")
    ]
    path.write_bytes(path.read_bytes()[200:])
    assert "UNREADABLE" in ran(replay.ENGINE, ground(folder)).found[0].what


def test_a_corpus_that_says_its_digests_is_held_to_them(tmp_path: Path) -> None:
    folder = corpus(tmp_path, "plain.rspp")
    kept = msgspec.json.decode((JOURNALS / replay.DIGESTS).read_bytes(), type=dict[str, str])
    digests = folder / "recordings" / replay.DIGESTS
    for said, words in (
        ({"plain.rspp": kept["plain.rspp"]}, ""),
        ({"plain.rspp": kept["coughed.rspp"]}, "its digest is another"),
        ({"plain.rspp": kept["plain.rspp"], "gone.rspp": "0"}, "it is gone"),
        ({}, "do not know it"),
    ):
        digests.write_bytes(msgspec.json.encode(said))
        found = ran(replay.ENGINE, ground(folder)).found
        assert [words in one.what for one in found] == ([True] if words else [])


def test_quick_looks_at_what_is_in_the_quick_gate_and_full_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "PROCESSES", 1)
    folder = corpus(tmp_path, "plain.rspp", "coughed.rspp")
    (folder / "recordings/regress.yaml").write_text("recordings: {plain.rspp: {gate: quick}}\n")
    for level, count in (("quick", 1), ("full", 2)):
        outcome = ran(replay.ENGINE, ground(folder, level))  # type: ignore[arg-type]
        assert (outcome.verdict, outcome.facts["recordings"]["recordings"]) == ("pass", count)


def test_rules_that_cannot_be_meant_and_a_corpus_of_nothing_fail(tmp_path: Path) -> None:
    folder = corpus(tmp_path, "plain.rspp")
    (folder / "recordings/regress.yaml").write_text("recordings: {gone.rspp: {gate: quick}}\n")
    assert "gone.rspp" in ran(replay.ENGINE, ground(folder)).found[0].what
    (tmp_path / "nothing").mkdir()
    outcome = ran(replay.ENGINE, ground(folder, corpus=str(tmp_path / "nothing")))
    assert "no recording was looked at" in outcome.found[0].what


# ---- simulator -------------------------------------------------------------------------------------------------------


def test_silence_is_no_proof(tmp_path: Path) -> None:
    """A load in which a class of faults never fired, or no turn was committed, is found fault with."""
    load = simulator.Load("none", 2, ("F3",))
    report = run_sessions(simulator.SEED, range(2), "none")
    (found,) = simulator.findings(ground(tmp_path), load, report)
    assert "faults of F3 never happened" in found.what
    fields = {name: getattr(report, name) for name in Report.__struct_fields__}
    quiet = Report(**fields | {"commits": 0, "faults": {"F3": 1}})
    (found,) = simulator.findings(ground(tmp_path), load, quiet)
    assert "no turn was committed" in found.what


def test_a_bug_that_no_checker_sees_is_a_fault_of_the_checkers() -> None:
    hunted = [
        Hunted("a", "INV-01", caught=True, checker="x", sessions=1),
        Hunted("b", "INV-02", False, None, 9),
    ]
    (found,) = simulator.survivors(hunted)
    assert "the planted bug b was not caught in 9 sessions: INV-02" in found.what


def test_quick_plants_a_bug_of_each_invariant_and_full_all_of_them() -> None:
    quick = simulator.chosen("quick")
    assert {one.inv for one in quick} == {one.inv for one in MUTANTS}
    assert len(quick) == len({one.inv for one in quick})
    assert simulator.chosen("full") == MUTANTS
    for level in ("quick", "full"):
        classes = {name for load in simulator.LOADS[level] for name in load.classes}
        assert classes == ({"F1", "F3", "F7"} if level == "quick" else {f"F{n}" for n in range(1, 9)})


@pytest.mark.slow
@pytest.mark.long
def test_the_same_seed_is_the_same_call() -> None:
    assert list(simulator.twice()) == []


# ---- gates -----------------------------------------------------------------------------------------------------------


def test_gates_that_nothing_was_measured_for_fail_and_are_named(tmp_path: Path) -> None:
    folder = corpus(tmp_path, "plain.rspp")
    outcome = ran(gates.ENGINE, ground(folder, "full"))
    assert outcome.verdict == "fail"
    cancel = next(one for one in outcome.found if one.where == "gate 3")
    assert "nothing to measure" in cancel.what
    assert [path.name for path in outcome.files] == [gates.REPORT]


def test_a_recording_that_cannot_be_read_is_no_gate_passed(tmp_path: Path) -> None:
    folder = corpus(tmp_path)
    (folder / "recordings/torn.rspp").write_bytes((JOURNALS / "plain.rspp").read_bytes()[100:])
    outcome = ran(gates.ENGINE, ground(folder, "full"))
    assert outcome.found[0].where == "torn.rspp"
    assert "cannot be judged" in outcome.found[0].what


def test_gates_are_asked_of_a_project_only_where_it_has_recordings_for_them(tmp_path: Path) -> None:
    assert gates.ENGINE.applies is not None
    assert not gates.ENGINE.applies(ground(tmp_path))
    assert gates.ENGINE.applies(ground(tmp_path, recordings=str(JOURNALS)))
    shop = corpus(tmp_path)
    assert not gates.ENGINE.applies(ground(shop))
    assert gates.ENGINE.applies(ground(shop, "full"))


def measured(at: Ground, number: int = 0, *, samples: int = 9, violated: bool = False) -> gates.Judged:
    """A report in which all is well but one gate, which took too long or was violated."""
    made = gates._judged(at, at.out, gates.REPORT)
    rows = []
    for one in made.report.gates:
        failed = one.number == number
        blame = [Violation("s", None, "turn_open_at", "missing")] if failed and violated else []
        rows.append(
            msgspec.structs.replace(
                one, passed=not failed, samples=samples, violations=blame, violations_total=len(blame)
            )
        )
    overhead = Overhead(
        windows=3, samples=900, mean_us_worst=1.0, p95_us_worst=2.0, budget_us=9.0, budget_p95_us=9.0, over=0, passed=True
    )  # fmt: skip
    whole = msgspec.structs.replace(
        made.report, gates=rows, side=[], overhead=overhead, passed=not number, differs=[]
    )
    return gates.Judged(report=sealed(whole), broken=(), file=at.out / gates.REPORT)


@pytest.mark.parametrize(
    ("first", "loads", "verdict"),
    [
        ({"number": 2}, 2, "pass"),
        ({"number": 0}, 1, "pass"),
        ({"number": 2, "violated": True}, 1, "fail"),
        ({"number": 2, "samples": 0}, 1, "fail"),
        ({"number": 4}, 1, "fail"),
    ],
)
def test_only_what_was_slow_is_recorded_once_more_and_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], loads: int, verdict: str
) -> None:
    (tmp_path / "rspp").mkdir()
    at = ground(tmp_path / "rspp")
    ready = [measured(at, **first), measured(at)]
    made: list[str] = []

    def recorded(_: Ground, name: str, report: str) -> gates.Judged:
        made.append(name)
        return ready[len(made) - 1]

    monkeypatch.setattr(gates, "_recorded", recorded)
    outcome = gates.run(at)
    assert (outcome.verdict, len(made)) == (verdict, loads)
    assert ("second attempt" in outcome.summary) == (loads == 2)
    assert outcome.facts["attempts"] == loads
    assert ("first_attempt" in outcome.facts) == (loads == 2)


def test_more_recordings_than_are_judged_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "RECORDINGS_MAX", 1)
    outcome = ran(gates.ENGINE, ground(corpus(tmp_path, "plain.rspp", "coughed.rspp"), "full"))
    assert "2 recordings, of which only 1" in outcome.found[0].what
