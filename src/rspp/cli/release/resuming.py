"""A release that stands still goes on when what it lacks has been met: looked at here, and shown with a file each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.release.consent import undecided
from rspp.cli.release.driving import Driver
from rspp.cli.release.gaps import Way, gap_of, next_of
from rspp.cli.release.progress import Attempt
from rspp.cli.release.reports import FOLDER, as_json, read_report, write
from rspp.cli.release.rollouts import seen_of
from rspp.cli.release.settings import sha256_of
from rspp.cli.release.steps import STEPS
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import updates as u

Look = Callable[[Driver, Attempt], str]


def reopened(driver: Driver) -> None:
    """Every requirement of the last result is met when this returns; raises MisuseError that says what still lacks."""
    so_far = driver.work.attempts()
    last = so_far[-1] if so_far else None
    if last is None or last.result is None or last.passed or last.all_met:
        return
    ref, gap = driver.settings.ref, gap_of(last.code)
    if gap.way is Way.OVER:
        raise MisuseError(
            "release_over", f"{ref} ended with {last.code}: {_reason(last)}. {next_of(last.code, ref)}"
        )
    why = LOOKS[last.code](driver, last) if last.code in LOOKS else ""
    if why:
        raise MisuseError(
            "release_not_met", f"{ref} stands still with {last.code}: {why}. {next_of(last.code, ref)}"
        )
    meet(driver, last, {"way": gap.way.value, "asked": msgspec.to_builtins(driver.asked)})


def meet(driver: Driver, attempt: Attempt, how: Mapping[str, Any]) -> None:
    """Each requirement that is not met yet, with one file that says who met it and how."""
    assert attempt.result is not None
    wanted = attempt.result.requirements
    said = {
        "release": driver.settings.session,
        "step": attempt.number,
        "code": attempt.code,
        "requirements": wanted,
    }
    about = {**said, "by": driver.work.manifest.by, "at_wall_ms": driver.wall_ms(), **how}
    path = driver.work.folder / FOLDER / f"{attempt.number}-met.json"
    if not attempt.met:  # what was met with it stays as it was
        write(path, as_json(about))
    for number in range(len(attempt.met) + 1, len(wanted) + 1):
        driver.work.say(u.RequirementMet(requirement=str(number), ref=driver.work.ref(path)))


def _reason(attempt: Attempt) -> str:
    return attempt.result.reasons[0] if attempt.result is not None and attempt.result.reasons else ""


# ---- what is looked at: "" where it is met, else what lacks ----------------------------------------------------------


def _spec_back(driver: Driver, _: Attempt) -> str:
    spec = Path(driver.settings.spec)
    try:
        now = sha256_of(spec.read_bytes())
    except OSError:
        return f"{spec.name} is not there"
    return "" if now == driver.settings.spec_sha256 else f"{spec.name} is still another one"


def _decided(driver: Driver, attempt: Attempt) -> str:
    """Also a no is a decision: the step then says what it means."""
    step = STEPS[attempt.name]
    facts = read_report(driver.work.folder / FOLDER / f"{attempt.number}-{step.name}.json").facts
    items = _asked(driver, "approvals.list")["items"]
    waiting = undecided(items, facts, driver.wall_ms())
    return f"nobody has decided about {', '.join(waiting)}" if waiting else ""


def _free(driver: Driver, _: Attempt) -> str:
    settings = driver.settings
    now = seen_of(_asked(driver, "rollout.show", pipeline=settings.pipeline), settings)
    if now.frozen:
        return f"the rollout is still frozen by {now.frozen_by}: {now.frozen_reason}"
    if now.canary not in ("", settings.version):
        return f"the canary is still {now.canary}"
    return ""


def _refresh(driver: Driver, _: Attempt) -> str:
    return "" if driver.asked.refresh else "nobody has asked for fresh reports (--refresh)"


def _more(driver: Driver, _: Attempt) -> str:
    asked = driver.asked
    said = asked.observe_more_ms or asked.sessions_min is not None
    return "" if said else "nobody has said what is enough (--observe-more, --min-sessions)"


LOOKS: Final[Mapping[str, Look]] = {
    "spec_changed": _spec_back,
    "approval_waiting": _decided,
    "rollout_frozen": _free,
    "rollout_taken": _free,
    "reports_stale": _refresh,
    "too_few_sessions": _more,
}


def _asked(driver: Driver, name: str, **fields: Any) -> Any:
    try:
        return driver.plane.ask(name, **fields)
    except RsppError as error:
        raise MisuseError(error.code, f"the control plane does not say: {error.message}") from error
