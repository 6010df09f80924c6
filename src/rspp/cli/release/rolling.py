"""New sessions are led to the version, first a share of them; and back, when it does not keep up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from rspp.cli.release.changing import changed, seen
from rspp.cli.release.consent import approval
from rspp.cli.release.ground import Ground, Outcome, failing, lacking, passing
from rspp.cli.release.matching import BEGIN, CANARY, FREEZE, PROMOTE, ROLLBACK
from rspp.cli.release.reports import Change
from rspp.cli.release.rollouts import CALLED, Do, Seen, leading, promoting, seen_of, withdrawing
from rspp.cli.verify.engine import Found
from rspp.contract.errors import RsppError

# Others may change the rollout between a look and what is asked for after it: then it is looked at anew, so often.
LOOKS_MAX: Final = 5
Answer = TypeVar("Answer")


def now_of(at: Ground) -> Seen:
    return seen_of(seen(at.plane, "rollout.show", pipeline=at.settings.pipeline), at.settings)


def canary(at: Ground) -> Outcome:
    return _looking(at, lambda now: _asked(at, now, leading(now, at.settings)))


def promote(at: Ground) -> Outcome:
    return _looking(at, lambda now: _asked(at, now, promoting(now, at.settings)))


def _looking(at: Ground, doing: Callable[[Seen], Answer]) -> Answer:
    """What was decided from a look is asked for only while the rollout is still so; else it is looked at again."""
    for left in reversed(range(LOOKS_MAX)):
        try:
            return doing(now_of(at))
        except RsppError as error:
            if error.code != "rollout_changed" or not left:
                raise
    raise AssertionError("the last look returns or raises")


def _conditions(do: Do, now: Seen) -> dict[str, Any]:
    """What is asked for, and of which state of the rollout; what begins it needs that there is none yet."""
    return dict(do.fields) if do.action == BEGIN else {**do.fields, "number": now.number}


def _asked(at: Ground, now: Seen, do: Do) -> Outcome:
    if do.code:
        return _held_up(at, do)
    if not do.action:
        return _found(at, do)
    version, called = at.settings.version, CALLED[do.action]

    def is_so() -> str:
        now = now_of(at)
        there = now.base == version if do.action in (BEGIN, PROMOTE) else now.has(version)
        return ("mine" if called in now.ours else "other") if there else ""

    try:
        done = changed(at, do.action, is_so, **_conditions(do, now), reason=at.settings.reason)
    except RsppError as error:
        return _refused(at, error)
    now = now_of(at)
    share = "" if now.base == version else f" of {now.percent} % of new sessions"
    return passing(
        f"{called} {at.settings.ref}: {done.how}{share}", changes=(done,), facts={"base": now.base}
    )


def _refused(at: Ground, error: RsppError) -> Outcome:
    """What the rule or a freeze has come to ask for meanwhile is waited for; everything else goes up."""
    if error.code == "rollout_frozen":
        return _held_up(at, Do(code=error.code, why=error.message))
    again = approval(at) if error.code == "approval_missing" else None
    if again is None or again.verdict == "pass":
        raise error
    return again


def _found(at: Ground, do: Do) -> Outcome:
    """There is nothing to ask for. What this release did before it was killed is told as its own."""
    now = now_of(at)
    wanted = (PROMOTE,) if at.step.name == "promote" else (CANARY, BEGIN)
    mine = [action for action in wanted if CALLED[action] in now.ours]
    changes = tuple(changed(at, action, lambda: "mine") for action in mine[:1])
    return passing(do.why, changes=changes, facts={"base": now.base})


def _held_up(at: Ground, do: Do) -> Outcome:
    fix = "rspp control rollout show " + at.settings.pipeline
    if do.code == "canary_gone":
        return failing(do.code, do.why, [Found(what=do.why, fix=fix)])
    requirement = f"the rollout of {at.settings.pipeline} is free for {at.settings.version}: {do.why}"
    return lacking(do.code, do.why, requirement, found=(Found(what=do.why, fix=fix),))


def withdraw(at: Ground) -> tuple[tuple[Change, ...], str]:
    """Back to what was served before, if this release has led sessions to its version; what was done, and in words."""
    return _looking(at, lambda now: _withdrawn(at, now))


def _withdrawn(at: Ground, now: Seen) -> tuple[tuple[Change, ...], str]:
    do = withdrawing(now, at.settings)
    if not do.action:
        # Killed between the way back and the word about it: it is this release's all the same.
        mine = [action for action in (ROLLBACK, FREEZE) if CALLED[action] in now.ours]
        return tuple(changed(at, action, lambda: "mine") for action in mine), do.why

    def is_so() -> str:
        later = now_of(at)
        if withdrawing(later, at.settings).action:
            return ""
        return "mine" if CALLED[do.action] in later.ours else "other"

    done = changed(at, do.action, is_so, **_conditions(do, now), reason=at.settings.reason)
    back = now_of(at)
    if do.action == FREEZE:
        return (done,), f"the rollout is frozen: {do.why}"
    return (done,), f"rolled back: every new session gets {back.base}"
