"""A real manifest, told over a real store: one record of the journal a line of its trace, whatever dies or is away between."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from rspp.cli.manifest import command
from rspp.contract.errors import PeerFault
from rspp.control.fleet.work import WorkSessions
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.manifest import Manifest
from rspp.manifest.document import Ran, ResumeTarget, Routing, ValCheck, ValReport
from rspp.manifest.refused import Refused
from rspp.manifest.telling import WorkSnapshot
from rspp.manifest.updates import RequirementMet, RoleTold, Routed, StepBegun
from rspp.server.acting import act
from rspp.server.state import telling
from rspp.server.work import WorkTeller
from tests.unit.server.work.told import journal_of, on_record, revisions, url_of

pytestmark = pytest.mark.slow  # real stores, and processes

ROUTE = {"REQUIRED_ROLES": ["VAL"]}
CHECK = ValCheck(key="KEY:VAL.WORDS", verdict="pass")
OLGA = Principal(id="olga", roles={EVERYWHERE: (Role.OPERATOR,)})
CONTINUE = "continue_work:runtime_work_session:r1"
# A process that works at the manifest and is killed the moment that its line is on disk: before anybody was told, or when the
# store has it and the journal has not.
KILLED = """
import os, signal, sys
from pathlib import Path
from rspp.manifest import Manifest
from rspp.manifest.updates import RoleTold
from rspp.ops.journal.writer import Writer
from rspp.server.work import WorkTeller

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

folder, url, where, role = sys.argv[1:]
with WorkTeller(url) as teller:
    if where == "before the store":
        teller.told = die
    else:
        Writer.tell = die
    Manifest(Path(folder) / "RUNTIME_MANIFEST.yaml", tells=teller).say(RoleTold(role=role, status="ran"))
"""


class Away:
    """A teller whose store is away, for as long as it is said to be."""

    def __init__(self, teller: WorkTeller) -> None:
        self.teller, self.away = teller, False

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        if self.away:
            raise PeerFault("store_unreachable", "it is away")
        self.teller.told(snapshots)

    def signal(self, session: str, step: str) -> str | None:
        return self.teller.signal(session, step)


class Counted(WorkTeller):
    """Notes which lines it is given."""

    given: list[int]

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        self.given = [*getattr(self, "given", []), *(one.line for one in snapshots)]
        super().told(snapshots)


def path_of(folder: Path) -> Path:
    return folder / "RUNTIME_MANIFEST.yaml"


def report(folder: Path, step: str) -> Path:
    """A report of validation that says pass, of this step."""
    path = folder / f"val-{step}.json"
    path.write_bytes(msgspec.json.encode(ValReport(session="r1", step=step, verdict="pass", checks=(CHECK,))))
    return path


def passed(manifest: Manifest, folder: Path, step: str, **begun: str) -> None:
    with manifest.step(f"step {step}", route=ROUTE, **begun) as one:  # type: ignore[arg-type]
        one.role("VAL").ran()
        one.output("VAL_REPORT", report(folder, step))
        one.passed(target=ResumeTarget(GOAL="the next one"))


def breaks(manifest: Manifest) -> None:
    """A step that ends by an exception: a FAIL with something to mend."""
    with manifest.step("two", route=ROUTE, signal="go") as step:
        step.role("VAL").ran()
        raise ZeroDivisionError


def is_gapless(folder: Path) -> int:
    """One record a line, in order, and the store has the last; how many."""
    lines = list(Manifest(path_of(folder)).trace())
    records = journal_of(folder)
    told = revisions(records)
    assert [one.sequence for one in records] == list(range(1, len(records) + 1))
    assert told == sorted(set(told))  # type: ignore[type-var]
    assert len(told) == len(lines)
    kept = on_record(folder)
    assert kept is not None
    assert (kept.line, kept.step) == (len(lines), Manifest(path_of(folder)).document.CURRENT_STEP.STEP_ID)
    return len(lines)


def test_every_line_of_a_trace_is_one_record_of_the_journal(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest.create(path_of(tmp_path), "r1", tells=teller)
        passed(manifest, tmp_path, "1")
        with pytest.raises(ZeroDivisionError):
            breaks(manifest)
    with WorkTeller(url_of(tmp_path)) as teller:  # as another process, which cannot know what was told
        manifest = Manifest(path_of(tmp_path), tells=teller)
        (tmp_path / "mended.txt").write_text("so")
        for number, _ in enumerate(manifest.document.RESUME.RESUME_REQUIREMENTS, 1):
            manifest.say(RequirementMet(requirement=str(number), ref=manifest.ref(tmp_path / "mended.txt")))
    assert is_gapless(tmp_path) >= 9
    kept = on_record(tmp_path)
    assert kept is not None
    assert [(one.step, one.status) for one in kept.past] == [("1", "PASS"), ("2", "FAIL")]
    assert (kept.state, kept.unmet) == ("waiting", ())
    assert str(tmp_path) not in msgspec.json.encode(kept).decode()


def test_whoever_opens_it_anew_tells_only_what_the_store_lacks(tmp_path: Path) -> None:
    with Counted(url_of(tmp_path)) as teller:
        passed(Manifest.create(path_of(tmp_path), "r1", tells=teller), tmp_path, "1")
        assert teller.given == [1, 2, 3, 4, 5, 6]
    with Counted(url_of(tmp_path)) as teller:
        Manifest(path_of(tmp_path), tells=teller).say(StepBegun(goal="two", signal="go"))
        assert teller.given == [7]
    Manifest(path_of(tmp_path)).say(Routed(routing=Routing(REQUIRED_ROLES=("VAL",))))
    Manifest(path_of(tmp_path)).say(RoleTold(role="QA", status=Ran.RAN))
    with Counted(url_of(tmp_path)) as teller:
        Manifest(path_of(tmp_path), tells=teller).say(RoleTold(role="VAL", status=Ran.RAN))
        assert teller.given == [8, 9, 10]
    with Counted(url_of(tmp_path)) as teller:
        Manifest(path_of(tmp_path), tells=teller).mended()
        assert teller.given == []
    is_gapless(tmp_path)


def test_two_manifests_of_one_name_do_not_take_turns_in_one_store(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with WorkTeller(url_of(tmp_path)) as teller:
        older = Manifest.create(path_of(tmp_path / "a"), "r1", tells=teller, clock=lambda: 1_000)
        older.say(StepBegun(goal="the older one"))
        newer = Manifest.create(path_of(tmp_path / "b"), "r1", tells=teller, clock=lambda: 2_000)
        older.say(Routed(routing=Routing(REQUIRED_ROLES=("VAL",))))
        older.say(RoleTold(role="VAL", status=Ran.RAN))
        newer.say(StepBegun(goal="the newer one"))
    for folder in ("a", "b"):
        with WorkTeller(url_of(tmp_path)) as teller:
            Manifest(path_of(tmp_path / folder), tells=teller).mended()
    kept = on_record(tmp_path)
    assert kept is not None
    assert (kept.goal, kept.folder, kept.line, len(kept.past)) == ("the newer one", "b", 2, 1)
    assert "a newer work session of the name r1 is on record in a folder b" in caplog.text


def test_what_is_missing_for_pass_is_on_record_while_a_step_runs(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest.create(path_of(tmp_path), "r1", tells=teller)
        with manifest.step("one", route=ROUTE) as step:
            kept = on_record(tmp_path)
            assert kept is not None
            assert [(one.code, one.what) for one in kept.missing] == [
                (one.code, one.what) for one in manifest.missing()
            ]
            assert kept.missing
            step.stopped(["go on"], reasons=["enough"])
    kept = on_record(tmp_path)
    assert kept is not None
    assert (kept.state, kept.unmet, kept.result.status) == ("stopped", ("go on",), "STOP_GAP")


@pytest.mark.parametrize("where", ["before the store", "before the journal"])
def test_a_line_is_told_by_whoever_comes_after_a_kill(tmp_path: Path, where: str) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest.create(path_of(tmp_path), "r1", tells=teller)
        passed(manifest, tmp_path, "1")
        manifest.say(StepBegun(goal="two", signal="go"))
        manifest.say(Routed(routing=Routing(REQUIRED_ROLES=("VAL",))))
    before = is_gapless(tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), url_of(tmp_path), where, "SPC"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(list(Manifest(path_of(tmp_path)).trace())) == before + 1
    assert len(revisions(journal_of(tmp_path))) == before
    with WorkTeller(url_of(tmp_path)) as teller:
        Manifest(path_of(tmp_path), tells=teller).say(RoleTold(role="QA", status=Ran.RAN))
    assert is_gapless(tmp_path) == before + 2


def test_lines_that_were_said_while_the_store_was_away_are_told_in_order_when_it_is_back(
    tmp_path: Path,
) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        away = Away(teller)
        manifest = Manifest.create(path_of(tmp_path), "r1", tells=away)
        away.away = True
        passed(manifest, tmp_path, "1")
        assert len(revisions(journal_of(tmp_path))) == 1
        away.away = False
        passed(manifest, tmp_path, "2", signal="go")
    assert is_gapless(tmp_path) == 1 + 2 * 5


# ---- the signal --------------------------------------------------------------------------------------------------------


async def continued(folder: Path, key: str) -> str:
    """What the page does when its button is pressed: take the offered action; its code, empty where it was done."""
    store = open_store(url_of(folder), Secrets())
    try:
        async with telling(store, source="test") as told:
            engine = told.engine()
            await engine.load()
            plane = ControlPlane(told.store)
            result = await act(plane, engine, OLGA, CONTINUE, key, "the canary was quiet")
            return result.code if not result.done else ""
    finally:
        await store.close()


def begin(folder: Path, goal: str) -> tuple[int, str]:
    """`rspp manifest step begin` without a word of the person who types it."""
    done = CliRunner().invoke(
        command, ["step", "begin", "--goal", goal, "--file", str(path_of(folder)), "--store", url_of(folder)]
    )
    return done.exit_code, done.output


def given(folder: Path) -> None:
    """An operator lets the session go on that is on record."""

    async def main() -> None:
        store = open_store(url_of(folder), Secrets())
        kept = WorkSessions(store, lambda: 5)
        work = await kept.get("r1")
        assert work is not None
        await kept.signal(work, by="olga", reason="r")
        await store.close()

    asyncio.run(main())


def test_a_signal_for_another_session_of_the_same_name_opens_nothing(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        for at_ms, name in ((1_000, "older"), (2_000, "newer")):
            (tmp_path / name).mkdir()
            manifest = Manifest.create(
                path_of(tmp_path / name), "r1", tells=teller, clock=lambda at_ms=at_ms: at_ms
            )
            passed(manifest, tmp_path / name, "1")
    given(tmp_path)
    for name, opens in (("older", False), ("newer", True)):
        with WorkTeller(url_of(tmp_path)) as teller:
            manifest = Manifest(path_of(tmp_path / name), tells=teller)
            if opens:
                manifest.say(StepBegun(goal="two"))
            else:
                with pytest.raises(Refused, match="manifest_signal_missing"):
                    manifest.say(StepBegun(goal="two"))


def test_who_asks_for_a_signal_tells_first_where_it_waits(tmp_path: Path) -> None:
    """Its last words may have met no store: then nobody knows that it waits, and nobody could let it go on."""
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest.create(path_of(tmp_path), "r1", tells=teller)
    passed(Manifest(path_of(tmp_path)), tmp_path, "1")
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest(path_of(tmp_path), tells=teller)
        with pytest.raises(Refused, match="manifest_signal_missing"):
            manifest.say(StepBegun(goal="two"))
        given(tmp_path)
        manifest.say(StepBegun(goal="two"))
    is_gapless(tmp_path)


def test_a_signal_from_the_console_reaches_the_step_that_waits_for_it_and_no_other(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        passed(Manifest.create(path_of(tmp_path), "r1", tells=teller), tmp_path, "1")
    code, said = begin(tmp_path, "publish")
    assert code == 1, said
    assert Manifest(path_of(tmp_path)).document.CURRENT_STEP.STEP_ID == "1"
    assert asyncio.run(continued(tmp_path, "k1")) == ""
    code, said = begin(tmp_path, "publish")
    assert code == 0, said
    assert Manifest(path_of(tmp_path)).document.CURRENT_STEP.STEP_GOAL == "publish"
    kept = on_record(tmp_path)
    assert kept is not None
    assert (kept.state, kept.step) == ("running", "2")
    with WorkTeller(url_of(tmp_path)) as teller:
        manifest = Manifest(path_of(tmp_path), tells=teller)
        with manifest.go_on() as step:
            step.route(ROUTE)
            step.role("VAL").ran()
            step.output("VAL_REPORT", report(tmp_path, "2"))
            step.passed(target=ResumeTarget(GOAL="observe"))
        with pytest.raises(Refused), manifest.step("observe"):
            pass
    assert is_gapless(tmp_path) == 1 + 2 * 5
