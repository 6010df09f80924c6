"""A release from where it stands to where it ends, or to where somebody wants it to wait."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from rspp.cli.release.driving import Driver
from rspp.cli.release.gaps import next_of
from rspp.cli.release.observing import Leaves
from rspp.cli.release.plane import read_met
from rspp.cli.release.progress import running
from rspp.cli.release.resuming import meet, reopened
from rspp.cli.release.steps import STEPS, Step, StepName, goal_of
from rspp.contract.errors import MisuseError
from rspp.manifest import updates as u
from rspp.manifest.document import StepStatus
from rspp.manifest.refused import Refused

SIGNAL_LOOK_S: Final = 0.5


class How(StrEnum):
    RELEASED = "released"
    STANDS = "stands"  # FAIL or STOP_GAP
    WAITS = "waits"  # for a signal, or because somebody wanted it to stop here
    LEFT = "left"  # in the middle of a step that goes on when it is resumed


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    how: How
    step: StepName | None = None
    code: str = ""
    summary: str = ""
    next: str = ""


def go(driver: Driver, *, stop_after: StepName | None = None, wait_for_signal: bool = False) -> Ended:
    """One step after the other. With `pause` in its settings a release waits for the signal before each."""
    by_hand = not wait_for_signal  # whoever runs this command has given the signal for one step
    while True:
        with driver.work.held(f"release {driver.settings.ref}"):
            _check_plane(driver)
            reopened(driver)
            while True:
                step = driver.next()
                if step is None:
                    return Ended(how=How.RELEASED)
                if driver.settings.pause and not by_hand and _between(driver):
                    break
                by_hand = False
                ended = _one(driver, step)
                if ended is not None:
                    return ended
                if step.name is stop_after:
                    return _waits(driver, f"stopped after {step.name}, as asked")
        if not wait_for_signal:
            return _waits(driver, "waits for the signal")
        _wait(driver, step)


def _check_plane(driver: Driver) -> None:
    """Before anything is said: is it the control plane that this release has asked before, if it has asked any?"""
    if read_met(driver.work.folder):
        driver.check_plane()


def _one(driver: Driver, step: Step) -> Ended | None:
    try:
        attempt = driver.step(step)
    except Leaves as leaves:
        return Ended(how=How.LEFT, step=step.name, summary=str(leaves), next=_resume(driver))
    if attempt.passed:
        return None
    result = attempt.result
    summary = result.reasons[0] if result is not None and result.reasons else ""
    return Ended(
        how=How.STANDS,
        step=step.name,
        code=attempt.code,
        summary=summary,
        next=next_of(attempt.code, driver.settings.ref),
    )


def _between(driver: Driver) -> bool:
    """A step has passed and none runs: here a signal is due."""
    so_far = driver.work.attempts()
    return bool(so_far) and running(so_far) is None


def _waits(driver: Driver, summary: str) -> Ended:
    return Ended(how=How.WAITS, summary=summary, next=_resume(driver))


def _resume(driver: Driver) -> str:
    return f"rspp release resume {driver.settings.ref}"


def _wait(driver: Driver, step: Step) -> None:
    """Until an operator has given the signal: then the step is begun with it. Nothing is held meanwhile."""
    driver.say(f"waits for the signal to begin {step.name}")
    while True:
        try:
            driver.work.begin(goal_of(step, driver.settings), by_signal=True)
        except Refused as refused:
            if refused.code != "manifest_signal_missing":
                raise
            driver.sleep(SIGNAL_LOOK_S)
        else:
            return


# ---- giving up -------------------------------------------------------------------------------------------------------


def give_up(driver: Driver) -> Ended:
    """New sessions are led back, and the release is over; what was published stays published."""
    with driver.work.held(f"abort {driver.settings.ref}"):
        _check_plane(driver)
        so_far = driver.work.attempts()
        if so_far and so_far[-1].code == "aborted":
            raise MisuseError("release_over", f"{driver.settings.ref} was given up already")
        if driver.next() is None:
            message = f"{driver.settings.ref} is released; to take it back: rspp control rollout rollback"
            raise MisuseError("release_over", f"{message} {driver.settings.pipeline}")
        now = running(so_far)
        if now is not None and now.name is not StepName.ABORT:
            driver.work.say(
                u.Resulted(
                    status=StepStatus.STOP_GAP,
                    fail_code="interrupted",
                    reasons=(f"{now.name} was interrupted: the release is given up",),
                    requirements=("the release is given up",),
                )
            )
            now = None
        last = driver.work.attempts()[-1] if so_far else None
        if (
            now is None
            and last is not None
            and last.result is not None
            and not last.passed
            and not last.all_met
        ):
            meet(driver, last, {"way": "given up", "reason": driver.asked.reason})
        ended = _one(driver, STEPS[StepName.ABORT])
        assert ended is not None  # it never passes
        return ended
