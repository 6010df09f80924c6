"""What is asked of a control plane is asked once: each engine looks first, and finds again what it did."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.cli.control.init import folder_with_key
from rspp.cli.release import checks, consent, observing, publishing, rolling
from rspp.cli.release.changing import changed
from rspp.cli.release.driving import Driver
from rspp.cli.release.ground import Asked, Ground, Outcome
from rspp.cli.release.matching import PUBLISH
from rspp.cli.release.progress import Attempt
from rspp.cli.release.reports import Proof, Report, as_json, stale, write
from rspp.cli.release.settings import read
from rspp.cli.release.steps import PROOFS, STEPS, StepName
from rspp.contract.errors import PeerFault
from rspp.control.plane import ControlPlane, os_principal
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.manifest import updates as u
from rspp.manifest.document import StepStatus
from rspp.timeline.gates.report import AGE_MS_MAX
from tests.unit.cli.release.stage import PIPELINE, Stage

pytestmark = pytest.mark.slow
BOB = Principal(id="bob", roles={EVERYWHERE: (Role.ADMIN,)})


class Scene:
    """A release whose proofs are there, standing before the control plane."""

    def __init__(self, stage: Stage, driver: Driver) -> None:
        self.stage, self.driver = stage, driver
        self.settings = driver.settings
        self.proofs = tuple(self._proof(name, number) for number, name in enumerate(PROOFS, 1))
        self.number = 10

    def _proof(self, name: StepName, number: int) -> Attempt:
        step, folder = STEPS[name], self.driver.work.folder
        report = Report(
            release=self.settings.session, step=name, number=str(number), pipeline=PIPELINE, version=self.settings.version,
            spec_sha256=self.settings.spec_sha256, made_wall_ms=self.stage.wall_ms(), verdict="pass", summary="well",
        )  # fmt: skip
        path = write(folder / "reports" / f"{number}-{name}.json", as_json(report))
        outputs = [u.OutputTold(output=step.report, ref=self.driver.work.ref(path))]
        if name is StepName.GATES:
            gates = write(folder / "reports" / "gate-report.json", self.stage.gates.read_bytes())
            outputs.append(u.OutputTold(output="GATE_REPORT", ref=self.driver.work.ref(gates)))
        passed = u.Resulted(status=StepStatus.PASS)
        return Attempt(name=name, number=str(number), at="", by="", outputs=tuple(outputs), result=passed)

    def at(self, name: StepName, **asked: Any) -> Ground:
        """Each is another step."""
        self.number += 1
        return Ground(
            settings=self.settings, folder=self.driver.work.folder, step=STEPS[name], number=str(self.number),
            so_far=self.proofs, plane=self.driver.plane, me=os_principal().id, wall_ms=self.stage.wall_ms,
            sleep=lambda _: None, say=self.stage.said.append, asked=Asked(**asked),
        )  # fmt: skip

    def publish(self) -> Outcome:
        return publishing.publish(self.at(StepName.PUBLISH))

    def canary(self) -> Outcome:
        return rolling.canary(self.at(StepName.CANARY))

    def promote(self) -> Outcome:
        return rolling.promote(self.at(StepName.PROMOTE))

    def ask(self, name: str, **fields: Any) -> Any:
        return self.driver.plane.ask(name, **fields)

    def set(self, **more: Any) -> None:
        self.settings = msgspec.structs.replace(self.settings, **more)

    def dones(self, action: str) -> int:
        return len(self.stage.audit(action))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    stage = Stage(tmp_path)
    folder_with_key(stage.keys)
    with stage.driver(stage.begin("v2")) as driver:
        yield Scene(stage, driver)


@pytest.fixture
def served(scene: Scene) -> Scene:
    """Something else is served already, and the version is published."""
    scene.ask("pipelines.publish", text=scene.stage.spec("v1").read_text())
    scene.ask("rollout.begin", pipeline=PIPELINE, version="v1", reason="first")
    assert scene.publish().verdict == "pass"
    return scene


# ---- publish ---------------------------------------------------------------------------------------------------------


def test_a_version_is_published_once_and_found_again_with_its_place_in_the_log(scene: Scene) -> None:
    first, again = scene.publish(), scene.publish()
    assert (first.verdict, again.verdict) == ("pass", "pass")
    assert [one.how for one in (*first.changes, *again.changes)] == ["done", "adopted"]
    assert first.changes[0].place == again.changes[0].place != ""
    assert again.changes[0].decision == "done"
    assert scene.dones(PUBLISH) == 1


def test_what_was_there_before_with_this_content_is_left_as_it_is_and_claimed_by_nobody(scene: Scene) -> None:
    text = Path(scene.settings.spec).read_text()
    scene.ask("pipelines.publish", text=text, reason="by hand, by the same principal")
    found = scene.publish()
    assert (found.verdict, found.changes[0].how, found.changes[0].place) == ("pass", "already", "")
    assert scene.dones(PUBLISH) == 1


def test_what_was_edited_a_moment_before_it_is_published_is_not_published(scene: Scene) -> None:
    spec = Path(scene.settings.spec)
    spec.write_text(spec.read_text() + "\n")
    found = scene.publish()
    assert (found.verdict, found.code) == ("gap", "spec_changed")
    assert scene.dones(PUBLISH) == 0


class Lies:
    """A server that does what it is asked for, and whose answer is lost."""

    outlives = True

    def __init__(self, scene: Scene, action: str, *, later: int = 0) -> None:
        self._scene, self._action, self._later = scene, action, later
        self._due: dict[str, Any] | None = None
        self.asked = 0

    def ask(self, name: str, **fields: Any) -> Any:
        if name == "audit.list":
            raise PeerFault("permission_denied", "not yours")
        if name == self._action:
            self.asked += 1
            self._due = fields
            self._tick()
            raise PeerFault("control_unreachable", "it may have been done all the same")
        self._tick()
        return self._scene.ask(name, **fields)

    def _tick(self) -> None:
        if self._due is not None and self._later <= 0:
            self._scene.ask(self._action, **self._due)
            self._due = None
        self._later -= self._due is not None


@pytest.mark.parametrize("later", [0, 2])
def test_an_answer_that_is_lost_is_looked_for_and_not_asked_for_again(scene: Scene, later: int) -> None:
    lies = Lies(scene, PUBLISH, later=later)
    at = msgspec.structs.replace(scene.at(StepName.PUBLISH), plane=lies, sleep=time.sleep)
    found = publishing.publish(at)
    assert (found.verdict, found.changes[0].how, lies.asked) == ("pass", "adopted", 1)
    assert scene.dones(PUBLISH) == 1


def test_another_content_under_that_version_fails_and_says_to_take_a_new_version(scene: Scene) -> None:
    other = json.loads(Path(scene.settings.spec).read_text()) | {"metadata": {"about": "another"}}
    scene.ask("pipelines.publish", text=json.dumps(other))
    found = scene.publish()
    assert (found.verdict, found.code) == ("fail", "version_taken")
    assert "take a new version" in found.summary
    assert scene.dones(PUBLISH) == 1


def test_the_way_back_is_written_before_anything_is_published(scene: Scene) -> None:
    posture = json.loads(scene.publish().outputs["ROLLBACK_POSTURE"].read_text())
    assert (posture["way"], posture["to"]) == ("freeze", "")


def test_the_way_back_names_what_is_served_today(served: Scene) -> None:
    posture = json.loads(served.publish().outputs["ROLLBACK_POSTURE"].read_text())
    assert (posture["way"], posture["to"]) == ("roll_back", "v1")


@pytest.mark.parametrize("late_ms", [AGE_MS_MAX + 60_000, -6 * 60_000])
def test_proofs_of_another_day_publish_nothing(scene: Scene, late_ms: int) -> None:
    scene.stage.offset_ms = late_ms
    found = scene.publish()
    assert (found.verdict, found.code) == ("gap", "reports_stale")
    assert sorted(found.facts["stale"]) == sorted(PROOFS)
    assert "--refresh" in found.requirements[0]
    assert scene.dones(PUBLISH) == 0


@pytest.mark.parametrize("late_ms", [AGE_MS_MAX - 60_000, -4 * 60_000])
def test_proofs_of_today_do_and_a_clock_may_be_some_minutes_off(scene: Scene, late_ms: int) -> None:
    scene.stage.offset_ms = late_ms
    old = publishing.stale_now(scene.driver.work.folder, scene.proofs, scene.settings, scene.stage.wall_ms())
    assert old == {}


def test_a_proof_that_was_changed_of_another_content_or_never_made_is_none(scene: Scene) -> None:
    at_ms, folder = scene.stage.wall_ms(), scene.driver.work.folder
    whole = publishing.proofs(folder, scene.proofs)
    assert stale(whole, scene.settings, at_ms) == {}
    assert "is missing" in stale({**whole, StepName.LINT: Proof()}, scene.settings, at_ms)[StepName.LINT]
    other = msgspec.structs.replace(scene.settings, spec_sha256="1" * 64)
    assert len(stale(whole, other, at_ms)) == len(PROOFS)
    (folder / "reports" / "3-replay.json").write_text("{}")
    assert (
        "is not what it was"
        in publishing.stale_now(folder, scene.proofs, scene.settings, at_ms)[StepName.REPLAY]
    )


def test_a_request_that_a_server_may_still_be_busy_with_is_waited_for(scene: Scene) -> None:
    class Slow:
        outlives = True
        looks = 0

        def ask(self, name: str, **fields: Any) -> Any:
            assert name != PUBLISH, "it was asked for a second time"
            if name != "audit.list":
                return scene.ask(name, **fields)
            self.looks += 1
            items = scene.ask(name, **fields)["items"]
            return {
                "items": [one for one in items if one["decision"] != "done" or self.looks > 3],
                "next": None,
            }

    assert scene.publish().verdict == "pass"
    slow = Slow()
    at = msgspec.structs.replace(scene.at(StepName.PUBLISH), plane=slow)
    done = changed(at, PUBLISH, lambda: "mine", text="")
    assert (done.how, done.decision, slow.looks) == ("adopted", "done", 5)


def test_gates_judge_calls_of_this_pipeline_unless_any_will_do(scene: Scene) -> None:
    assert checks.gates(scene.at(StepName.GATES)).verdict == "pass"
    scene.set(any_gates=False)
    found = checks.gates(scene.at(StepName.GATES))
    assert (found.verdict, found.code) == ("fail", "unfit")
    assert "recordings of stage@v1, not of voice" in found.summary
    scene.set(pipeline="stage")
    assert checks.gates(scene.at(StepName.GATES)).verdict == "pass", "of whichever version"


# ---- canary, promote, back -------------------------------------------------------------------------------------------


def test_a_canary_and_its_promotion_are_asked_for_once_each(served: Scene) -> None:
    assert [one.how for one in (*served.canary().changes, *served.canary().changes)] == ["done", "adopted"]
    rollout = served.ask("rollout.show", pipeline=PIPELINE)["rollout"]
    assert (rollout["canary"], rollout["percent"], tuple(rollout["tenants"])) == ("v2", 10, ("acme",))
    assert [one.how for one in (*served.promote().changes, *served.promote().changes)] == ["done", "adopted"]
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"]["base"] == "v2"
    assert (served.dones("rollout.canary"), served.dones("rollout.promote")) == (1, 1)


def test_the_first_version_ever_is_begun_and_needs_no_promotion(scene: Scene) -> None:
    scene.publish()
    assert [one.action for one in scene.canary().changes] == ["rollout.begin"]
    assert (scene.promote().verdict, scene.promote().changes) == ("pass", ())


def test_a_direct_release_is_promoted_at_once(served: Scene) -> None:
    served.set(direct=True)
    served.canary()
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"].get("percent", 0) == 0
    assert served.promote().verdict == "pass"
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"]["base"] == "v2"


@pytest.mark.parametrize(
    ("before", "code"),
    [
        (("rollout.freeze", {}), "rollout_frozen"),
        (("rollout.canary", {"version": "v3", "percent": 1, "tenants": []}), "rollout_taken"),
    ],
)
def test_what_stands_in_the_way_is_waited_for(
    served: Scene, before: tuple[str, dict[str, Any]], code: str
) -> None:
    served.ask("pipelines.publish", text=served.stage.spec("v3").read_text())
    served.ask(before[0], pipeline=PIPELINE, reason="mine", **before[1])
    found = served.canary()
    assert (found.verdict, found.code) == ("gap", code)
    assert served.dones("rollout.canary") == (1 if code == "rollout_taken" else 0)


def test_a_canary_that_somebody_withdrew_is_not_led_out_again(served: Scene) -> None:
    served.canary()
    served.ask("rollout.rollback", pipeline=PIPELINE, reason="I saw something")
    for found in (served.canary(), served.promote()):
        assert (found.verdict, found.code) == ("fail", "canary_gone")
    assert served.dones("rollout.canary") == 1


def test_the_way_back_is_taken_once_and_told_as_this_releases(served: Scene) -> None:
    served.canary()
    first, words = rolling.withdraw(served.at(StepName.OBSERVE))
    again, _ = rolling.withdraw(served.at(StepName.OBSERVE))
    assert words == "rolled back: every new session gets v1"
    assert [(one.action, one.how) for one in (*first, *again)] == [
        ("rollout.rollback", "done"),
        ("rollout.rollback", "adopted"),
    ]
    assert first[0].place == again[0].place
    assert served.dones("rollout.rollback") == 1


@pytest.fixture
def meddler(served: Scene) -> Any:
    """Somebody who changes the rollout just before this release asks for a change of it."""
    served.ask("pipelines.publish", text=served.stage.spec("v3").read_text())

    class Meddler:
        outlives = False
        doing: tuple[str, dict[str, Any]] | None = None

        def ask(self, name: str, **fields: Any) -> Any:
            if name.startswith("rollout.") and name != "rollout.show" and self.doing is not None:
                (what, said), self.doing = self.doing, None
                served.ask(what, pipeline=PIPELINE, reason="by hand", **said)
            return served.ask(name, **fields)

    return Meddler()


V3 = {"version": "v3", "percent": 5, "tenants": []}


def test_a_canary_that_somebody_leads_out_at_that_moment_is_not_replaced(served: Scene, meddler: Any) -> None:
    meddler.doing = ("rollout.canary", V3)
    found = rolling.canary(msgspec.structs.replace(served.at(StepName.CANARY), plane=meddler))
    assert found.code == "rollout_taken"
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"]["canary"] == "v3"


def test_the_way_back_takes_nothing_of_somebody_elses(served: Scene, meddler: Any) -> None:
    served.canary()
    meddler.doing = ("rollout.canary", V3)
    done, words = rolling.withdraw(msgspec.structs.replace(served.at(StepName.OBSERVE), plane=meddler))
    assert (done, words) == ((), "no new session gets v2")
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"]["canary"] == "v3"


def test_what_somebody_promotes_by_hand_at_that_moment_is_not_taken_back(served: Scene, meddler: Any) -> None:
    served.canary()
    meddler.doing = ("rollout.promote", {"version": "v2"})
    done, words = rolling.withdraw(msgspec.structs.replace(served.at(StepName.OBSERVE), plane=meddler))
    assert done == ()
    assert "somebody else has led sessions to v2" in words
    assert served.ask("rollout.show", pipeline=PIPELINE)["rollout"]["base"] == "v2"


def test_where_there_is_no_way_back_the_rollout_is_frozen(scene: Scene) -> None:
    scene.publish()
    scene.canary()
    done, words = rolling.withdraw(scene.at(StepName.OBSERVE))
    assert [one.action for one in done] == ["rollout.freeze"]
    assert "no version to go back to" in words
    assert scene.ask("rollout.show", pipeline=PIPELINE)["rollout"]["frozen"]


# ---- consent ---------------------------------------------------------------------------------------------------------


def ruled(scene: Scene, *kinds: str) -> None:
    scene.ask("approvals.set_rule", kinds=list(kinds), reason="production")


def test_what_needs_consent_is_proposed_once_and_waited_for(served: Scene) -> None:
    ruled(served, "rollout.promote")
    assert consent.approval(served.at(StepName.APPROVAL)).code == "approval_waiting"
    found = consent.approval(served.at(StepName.APPROVAL))
    assert (found.verdict, found.code) == ("gap", "approval_waiting")
    proposals = served.ask("approvals.list")["items"]
    assert [one["operation"] for one in proposals] == ["rollout.promote"]
    assert proposals[0]["proposal"] in found.requirements[0]
    assert "rspp control approvals approve" in found.requirements[0]


def test_without_a_rule_nothing_is_proposed(served: Scene) -> None:
    assert consent.approval(served.at(StepName.APPROVAL)).verdict == "pass"
    assert served.ask("approvals.list")["items"] == []


def test_a_no_ends_it(served: Scene) -> None:
    ruled(served, "rollout.promote")
    consent.approval(served.at(StepName.APPROVAL))
    proposal = served.ask("approvals.list")["items"][0]["proposal"]
    served.ask("approvals.reject", tenant="*", proposal=proposal, reason="not today")
    found = consent.approval(served.at(StepName.APPROVAL))
    assert (found.verdict, found.code) == ("fail", "approval_rejected")


def test_a_rule_that_came_meanwhile_is_obeyed_where_it_is_met(served: Scene) -> None:
    ruled(served, "rollout.canary")
    found = served.canary()
    assert (found.verdict, found.code) == ("gap", "approval_waiting")
    assert [one["operation"] for one in served.ask("approvals.list")["items"]] == ["rollout.canary"]


# ---- observe ---------------------------------------------------------------------------------------------------------


def observed(scene: Scene, **asked: Any) -> Outcome:
    return observing.observe(scene.at(StepName.OBSERVE, **asked))


@pytest.fixture
def out(served: Scene) -> Scene:
    served.canary()
    served.set(sessions_min=3, errors_max=0.34)
    return served


def test_a_canary_whose_sessions_fare_well_passes(out: Scene) -> None:
    out.stage.plant("v2", [("closed", 1)] * 3)
    out.stage.plant("v1", [("worker_lost", 1)] * 9, name="old")
    found = observed(out)
    assert (found.verdict, found.facts["sessions"], found.facts["bad"]) == ("pass", 3, 0)
    assert found.outputs["OBSERVATION"].is_file()


def test_an_unhealthy_canary_is_rolled_back_at_once_and_says_what_was_seen(out: Scene) -> None:
    out.set(observe_ms=3_600_000)
    out.stage.plant("v2", [("closed", 1), ("worker_lost", 1), ("forced", 1)])
    found = observed(out)
    assert (found.verdict, found.code) == ("fail", "canary_unhealthy")
    assert [(one.action, one.how) for one in found.changes] == [("rollout.rollback", "done")]
    assert "acme/s-1: worker_lost" in {one.what for one in found.found}
    assert "canary" not in out.ask("rollout.show", pipeline=PIPELINE)["rollout"]


def test_killed_after_the_way_back_the_verdict_and_the_change_are_the_same(out: Scene) -> None:
    out.stage.plant("v2", [("forced", 1)] * 3)
    at = out.at(StepName.OBSERVE)
    first, again = observing.observe(at), observing.observe(at)
    assert (first.verdict, first.code, first.found) == (again.verdict, again.code, again.found)
    assert (first.changes[0].place, again.changes[0].how) == (again.changes[0].place, "adopted")
    assert out.dones("rollout.rollback") == 1


def test_the_clock_of_an_observation_survives_whoever_watches(out: Scene) -> None:
    out.set(observe_ms=60_000)
    at = out.at(StepName.OBSERVE, wait=False)
    with pytest.raises(observing.Leaves):
        observing.observe(at)
    out.stage.offset_ms = 61_000
    found = observing.observe(at)
    assert (found.code, found.facts["looks"]) == ("too_few_sessions", 2)
    assert found.facts["until_ms"] - found.facts["started_ms"] == 60_000


def test_a_burned_error_budget_takes_it_back(out: Scene) -> None:
    async def burn(plane: ControlPlane) -> None:
        await plane.rollouts.govern(PIPELINE, burned=True, reason="availability 0.9")

    out.stage.plane(burn)
    found = observed(out)
    assert found.code == "canary_unhealthy"
    assert "the error budget is burned: availability 0.9" in found.summary


def test_a_canary_that_somebody_withdrew_is_told_and_nothing_is_taken_back(out: Scene) -> None:
    out.ask("rollout.rollback", pipeline=PIPELINE, reason="mine")
    found = observed(out)
    assert (found.code, found.changes) == ("canary_gone", ())


def test_a_control_plane_that_is_away_ends_no_observation_before_its_time(out: Scene) -> None:
    out.stage.plant("v2", [("closed", 1)] * 3)

    class Away:
        outlives = False
        times = 0

        def ask(self, name: str, **fields: Any) -> Any:
            self.times += 1
            if name == "sessions.list" and self.times < 9:
                raise PeerFault("control_unreachable", "it is away")
            return out.ask(name, **fields)

    out.set(observe_ms=200)
    at = msgspec.structs.replace(out.at(StepName.OBSERVE), plane=Away(), sleep=time.sleep)
    assert observing.observe(at).verdict == "pass"
    assert any("gave no answer" in one for one in out.stage.said)


def test_an_observation_that_was_refused_ends_at_once_and_goes_on_with_what_it_had_seen(out: Scene) -> None:
    out.stage.plant("v2", [("closed", 1)] * 3)
    out.set(observe_ms=600_000)

    class Expired:
        outlives = False
        looks = 0

        def ask(self, name: str, **fields: Any) -> Any:
            self.looks += name == "sessions.list"
            if self.looks > 1:
                raise PeerFault("unauthenticated", "the token has expired")
            return out.ask(name, **fields)

    at = msgspec.structs.replace(out.at(StepName.OBSERVE), plane=Expired(), sleep=time.sleep)
    with pytest.raises(PeerFault, match="expired"):
        observing.observe(at)
    refused = u.Resulted(status=StepStatus.FAIL, fail_code="control_refused", requirements=("x",))
    before = Attempt(name=StepName.OBSERVE, number=at.number, at="", by="", result=refused)
    out.stage.offset_ms = 700_000
    again = out.at(StepName.OBSERVE)
    now = msgspec.structs.replace(before, number=again.number, result=None)
    found = observing.observe(
        msgspec.structs.replace(again, so_far=(*out.proofs, before, now), sleep=time.sleep)
    )
    assert (found.verdict, found.facts["sessions"], found.facts["looks"]) == ("pass", 3, 2)


def test_settings_are_what_they_were_when_the_release_began(scene: Scene) -> None:
    assert read(scene.driver.work.folder) == scene.settings
