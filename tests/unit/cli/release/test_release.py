"""A release stands still where something is lacking, says what, and goes on once it is met; nobody talks it past that."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.cli.release.going import How, give_up, go
from rspp.cli.release.ground import Asked
from rspp.cli.release.settings import read
from rspp.cli.release.steps import PROOFS, StepName, plan
from rspp.contract.errors import MisuseError
from rspp.manifest import WorkSnapshot
from rspp.manifest.document import is_met
from rspp.timeline.gates.report import AGE_MS_MAX
from tests.unit.cli.release.stage import PIPELINE, Copy, Stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def before_publish(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A release that has passed everything up to its publication; v1 is served."""
    stage = Stage(tmp_path_factory.mktemp("release"))
    stage.ask("pipelines.publish", text=stage.spec("v1").read_text())
    stage.ask("rollout.begin", pipeline=PIPELINE, version="v1", reason="first")
    ended = stage.go(stage.begin("v2"), stop_after=StepName.APPROVAL)
    assert (ended.how, ended.next) == (How.WAITS, "rspp release resume voice@v2")
    return stage


@pytest.fixture
def stage(before_publish: Stage, tmp_path: Path) -> Copy:
    return Copy(before_publish, tmp_path / "copy")


def refused(stage: Copy, code: str, **asked: Any) -> str:
    with pytest.raises(MisuseError) as found:
        stage.on(**asked)
    assert found.value.code == code
    return found.value.message


def test_a_spec_that_was_changed_meanwhile_stops_it_until_it_is_back(stage: Copy) -> None:
    spec = stage.folder / "v2.json"
    text = spec.read_text()
    spec.write_text(text + "\n")
    ended = stage.on()
    assert (ended.how, ended.step, ended.code) == (How.STANDS, "publish", "spec_changed")
    assert "is not what it was" in ended.summary
    assert "still another one" in refused(stage, "release_not_met")
    assert stage.ask("pipelines.versions", pipeline=PIPELINE)["items"][0]["version"] == "v1"
    spec.write_text(text)
    assert stage.on(stop_after=StepName.PUBLISH).how is How.WAITS
    assert stage.attempts()[-2:] == [("publish", "spec_changed"), ("publish", "PASS")]
    assert all(map(is_met, stage.work(stage.release).document.RESUME.RESUME_REQUIREMENTS))


def test_a_corpus_that_was_changed_in_the_middle_of_a_step_proves_nothing(stage: Copy) -> None:
    with stage.driver(stage.release) as driver:

        def meddled(text: str) -> None:
            if text.startswith("publish"):
                (stage.corpus / "more.rspp").write_bytes(b"")

        driver.say = meddled
        ended = go(driver)
    assert (ended.code, ended.step) == ("not_proven", "publish")
    reasons = stage.work(stage.release).document.LAST_RESULT.FAIL_REASONS
    assert any("corpus/more.rspp appeared" in one for one in reasons)


@pytest.mark.long
def test_stale_proofs_are_made_again_when_that_is_asked_for_and_only_those(stage: Copy) -> None:
    stage.offset_ms = AGE_MS_MAX + 60_000
    report = json.loads(stage.gates.read_text())
    ended = stage.on()
    assert (ended.code, ended.step) == ("reports_stale", "publish")
    assert "nobody has asked for fresh reports" in refused(stage, "release_not_met")
    stage.set(gates="", recordings=(str(stage.folder / "none.rspp"),))
    ended = stage.on(refresh=True)
    assert [name for name, _ in stage.attempts()[-4:]] == [name.value for name in PROOFS], (
        "each proof once more"
    )
    assert (ended.step, ended.code) == ("gates", "gates_failed"), "what is asked for again may fail"
    assert report["passed"]


def test_a_version_that_is_taken_ends_it(stage: Copy) -> None:
    other = json.loads((stage.folder / "v2.json").read_text()) | {"metadata": {"about": "another"}}
    stage.ask("pipelines.publish", text=json.dumps(other))
    ended = stage.on()
    assert (ended.how, ended.code) == (How.STANDS, "version_taken")
    assert "new version" in refused(stage, "release_over")


def test_given_up_sessions_are_led_back_and_the_version_stays_published(stage: Copy) -> None:
    stage.on(stop_after=StepName.CANARY)
    with stage.driver(stage.release, Asked(reason="it sounds wrong")) as driver:
        ended = give_up(driver)
    assert (ended.code, ended.step) == ("aborted", "abort")
    assert "(it sounds wrong)" in ended.summary
    assert "rolled back: every new session gets v1; voice@v2 stays published" in ended.summary
    assert "canary" not in stage.ask("rollout.show", pipeline=PIPELINE)["rollout"]
    assert stage.ask("pipelines.show", pipeline=PIPELINE, version="v2")["published"]["version"] == "v2"
    assert stage.differences(stage.release) == ()
    assert "aborted" in refused(stage, "release_over")
    with stage.driver(stage.release) as driver, pytest.raises(MisuseError, match="given up already"):
        give_up(driver)


@pytest.mark.long
def test_given_up_in_the_middle_of_a_step_that_step_is_told_as_interrupted(stage: Copy) -> None:
    stage.set(observe_ms=3_600_000)
    assert stage.on(wait=False).how is How.LEFT
    with stage.driver(stage.release) as driver:
        give_up(driver)
    assert stage.attempts()[-2:] == [("observe", "interrupted"), ("abort", "aborted")]
    assert stage.differences(stage.release) == ()


def test_an_unhealthy_canary_is_a_failure_on_record_with_what_was_seen(stage: Copy) -> None:
    stage.plant("v2", [("worker_lost", 1)])
    ended = stage.on()
    assert (ended.how, ended.code) == (How.STANDS, "canary_unhealthy")
    document = stage.work(stage.release).document
    assert document.CURRENT_STEP.STEP_STATUS == "FAIL"
    assert document.LAST_RESULT.FAIL_CODE == "canary_unhealthy"
    assert any("acme/s-0: worker_lost" in one for one in document.LAST_RESULT.FAIL_REASONS)
    assert document.LAST_RESULT.FIX_LIST
    assert document.RESUME.RESUME_REQUIREMENTS
    assert stage.differences(stage.release) == ()
    validated = stage.work(stage.release).manifest.validate()
    assert validated.faults == ()


def test_too_few_sessions_are_watched_for_longer_when_that_is_asked_for(stage: Copy) -> None:
    stage.set(sessions_min=1)
    assert stage.on().code == "too_few_sessions"
    assert "--observe-more" in refused(stage, "release_not_met")
    stage.plant("v2", [("closed", 1)])
    ended = stage.on(observe_more_ms=30, stop_after=StepName.OBSERVE)
    assert ended.how is How.WAITS
    assert stage.attempts()[-2:] == [("observe", "too_few_sessions"), ("observe", "PASS")]


def test_two_at_once_the_second_is_told_who_and_since_when(stage: Copy) -> None:
    with stage.driver(stage.release) as first, first.work.held("release voice@v2"):
        result = stage.run("resume", "voice@v2")
    assert result.exit_code == 1
    for word in ("manifest_locked", "since", "second", "release voice@v2"):
        assert word in result.output


class Operator:
    """Somebody at the console, who gives a signal after the step that a test names."""

    def __init__(self) -> None:
        self.given: set[str] = set()
        self.asked: list[str] = []
        self.seen: list[WorkSnapshot] = []

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        self.seen += snapshots

    def signal(self, session: str, step: str) -> str | None:
        self.asked.append(step)
        return "go" if step in self.given else None


@pytest.mark.long
def test_a_release_that_pauses_goes_one_step_for_each_signal_and_no_further(stage: Copy) -> None:
    stage.set(pause=True)
    assert stage.on().summary == "waits for the signal"
    assert stage.attempts()[-1] == ("publish", "PASS")
    operator = Operator()
    with stage.driver(stage.release, tells=operator) as driver:
        waiting = threading.Thread(target=go, args=(driver,), kwargs={"wait_for_signal": True}, daemon=True)
        driver.sleep = lambda _: _until(lambda: bool(operator.given), 5)
        waiting.start()
        _until(lambda: "6" in operator.asked, 10)
        assert stage.attempts()[-1][0] == "publish", "nobody has said go"
        operator.given.add("6")
        _until(lambda: "7" in operator.asked, 10)
        assert stage.attempts()[-1] == ("canary", "PASS")
        operator.given |= {"7", "8", "9"}
        waiting.join(20)
    assert stage.attempts()[-1] == ("report", "PASS")
    assert operator.seen[-1].state == "done"


def _until(holds: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "in vain"
        time.sleep(0.01)


def test_the_status_says_where_it_stands_what_it_lacks_and_the_next_command(stage: Copy) -> None:
    shown = stage.run("status", PIPELINE)
    assert shown.exit_code == 0, shown.output
    assert "voice@v2: waits" in shown.output
    assert "next: rspp release resume voice@v2" in shown.output
    (stage.folder / "v2.json").write_text("{}")
    assert stage.run("resume", PIPELINE).exit_code == 1
    result = stage.run("status", PIPELINE, "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["state"], said["code"]) == ("stands", "spec_changed")
    assert said["requirements"]
    assert "put the spec back" in said["next"]
    rows = {one["step"]: one["status"] for one in said["steps"]}
    assert (rows["gates"], rows["publish"], rows["canary"]) == ("PASS", "STOP_GAP", "")
    assert said["faults"] == []


@pytest.mark.long
def test_the_status_verifies_the_ledgers_and_says_when_they_differ(stage: Copy) -> None:
    assert stage.on().how is How.RELEASED
    result = stage.run("status", "voice@v2", "--verify")
    assert result.exit_code == 0, result.output
    assert "0 differences" in result.output
    session = read(stage.release).session
    stage.ask("rollout.freeze", pipeline=PIPELINE, reason=f"release {session}")
    result = stage.run("status", "voice@v2", "--verify")
    assert result.exit_code == 1
    assert "rollout.freeze was done" in result.output


def test_a_manifest_that_was_written_by_hand_goes_nowhere(stage: Copy) -> None:
    path = stage.release / "RUNTIME_MANIFEST.yaml"
    path.write_text(path.read_text().replace("approval: voice@v2", "publish: voice@v2"))
    result = stage.run("resume", PIPELINE)
    assert result.exit_code == 1
    assert "manifest_hand_written" in result.output
    assert "wrong with the manifest" in stage.run("status", PIPELINE).output


def test_it_goes_on_at_no_other_control_plane_than_it_began_with(stage: Copy) -> None:
    here, stage.url = stage.url, f"sqlite:///{stage.folder / 'other.db'}"
    before = stage.attempts()
    assert "belongs to the control plane plane-" in refused(stage, "release_other_plane")
    for words in (("status", PIPELINE, "--verify"), ("abort", PIPELINE, "--reason", "x")):
        result = stage.run(*words)
        assert result.exit_code == 1
        assert "release_other_plane" in result.output
    assert stage.attempts() == before
    stage.url = here
    assert stage.on(stop_after=StepName.PUBLISH).how is How.WAITS
    said = (stage.release / "plane.json").read_text()
    assert str(stage.folder) not in said


def test_once_it_is_published_the_files_beside_it_may_change(stage: Copy) -> None:
    stage.on(stop_after=StepName.PUBLISH)
    (stage.folder / "v2.json").unlink()
    (stage.corpus / "more.rspp").write_bytes(b"")
    stage.plant("v2", [("worker_lost", 1)])
    ended = stage.on()
    assert ended.code == "canary_unhealthy", "a sick canary is led back, whatever lies on this disk"
    assert "canary" not in stage.ask("rollout.show", pipeline=PIPELINE)["rollout"]


@pytest.mark.long
def test_gates_of_another_pipeline_are_none_of_this_one(stage: Copy) -> None:
    anew = (
        "run",
        str(stage.folder / "v2.json"),
        "--corpus",
        str(stage.corpus),
        "--gates",
        str(stage.gates),
        "--restart",
    )
    ended = stage.run(*anew, "--stop-after", "gates")
    assert ended.exit_code == 1
    assert "recordings of stage@v1, not of voice" in ended.output
    assert stage.run(*anew[:-1], "--stop-after", "gates", "--any-gates").exit_code == 0, (
        "what failed is begun anew"
    )
    assert (stage.release.with_name("v2~2") / "TRACE").exists()


@pytest.mark.long
def test_of_a_release_that_was_set_aside_the_status_is_shown_and_nothing_is_done(stage: Copy) -> None:
    anew = ("run", str(stage.folder / "v2.json"), "--corpus", str(stage.corpus), "--gates", str(stage.gates))
    assert stage.run(*anew, "--restart", "--stop-after", "lint").exit_code == 0
    assert "approval" in stage.run("status", "voice@v2~1").output
    result = stage.run("resume", "voice@v2~1")
    assert result.exit_code == 1
    assert "was set aside" in result.output


def test_the_status_is_told_also_where_a_report_was_damaged(stage: Copy) -> None:
    stage.on(stop_after=StepName.CANARY)
    for path in (stage.release / "reports").glob("*-publish.json"):
        path.write_text("{")
    said = json.loads(stage.run("status", PIPELINE, "--json").stdout)
    assert any("publish.json cannot be read" in one for one in said["faults"])


def test_the_status_says_what_an_observation_has_looked_at(stage: Copy) -> None:
    stage.plant("v2", [("closed", 1)])
    stage.on(stop_after=StepName.OBSERVE)
    shown = stage.run("status", PIPELINE).output
    assert "looked at: sessions of 1 tenants" in shown
    assert "1 good; error budget: not burned" in shown


def test_a_release_is_begun_once_and_again_only_where_it_published_nothing(stage: Copy) -> None:
    spec = str(stage.folder / "v2.json")
    given = ("run", spec, "--corpus", str(stage.corpus), "--gates", str(stage.gates), "--stop-after", "lint")
    again = stage.run(*given)
    assert again.exit_code == 1
    assert "release_begun" in again.output
    assert stage.run(*given, "--restart").exit_code == 0
    assert stage.attempts() == [("lint", "PASS")]
    assert (stage.release.with_name("v2~1") / "TRACE").exists()
    assert stage.run("status", PIPELINE).output.startswith("voice@v2")


def test_what_was_published_is_not_begun_again_with_another_text(stage: Copy) -> None:
    stage.on(stop_after=StepName.PUBLISH)
    spec = stage.folder / "v2.json"
    spec.write_text(spec.read_text() + "\n")
    given = ("run", str(spec), "--corpus", str(stage.corpus), "--gates", str(stage.gates))
    result = stage.run(*given, "--restart")
    assert result.exit_code == 1
    assert "take a new version" in result.output


@pytest.mark.long
def test_what_was_given_up_before_it_was_published_is_begun_anew_without_a_word(stage: Copy) -> None:
    assert stage.run("abort", PIPELINE, "--reason", "later").exit_code == 0
    given = ("run", str(stage.folder / "v2.json"), "--corpus", str(stage.corpus), "--gates", str(stage.gates))
    result = stage.run(*given, "--stop-after", "lint")
    assert result.exit_code == 0, result.output
    assert "kept as voice@v2~1" in result.output
    assert stage.attempts() == [("lint", "PASS")]


@pytest.mark.parametrize("name", ["nobody", "voice@v9", "../voice", ".", "voice@../../x", "voice/v2"])
def test_a_name_that_means_no_release_is_said_to_mean_none(stage: Copy, name: str) -> None:
    result = stage.run("status", name)
    assert result.exit_code == 1
    assert "release_unknown" in result.output


def test_the_plan_leaves_nothing_out_but_the_observation_of_a_direct_release(stage: Copy) -> None:
    settings = read(stage.release)
    names = [step.name for step in plan(settings)]
    direct = [step.name for step in plan(msgspec.structs.replace(settings, direct=True))]
    assert [name for name in names if name not in direct] == [StepName.OBSERVE]
    assert names[-1] is StepName.REPORT
