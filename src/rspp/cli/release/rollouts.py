"""What is to be done with a rollout, decided from what it is now. Pure.

nothing is served yet          begin
it is the canary already       nothing: it was led there before
another canary is out          wait
frozen                         wait
else                           canary, then promote
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.cli.release.matching import BEGIN, CANARY, FREEZE, PROMOTE, ROLLBACK
from rspp.cli.release.settings import Settings
from rspp.control.config.rollout import BY_BUDGET

PUT: Final = frozenset({"begin", "canary"})
# What the rollout's history calls each change.
CALLED: Final[Mapping[str, str]] = {
    BEGIN: "begin",
    CANARY: "canary",
    PROMOTE: "promote",
    ROLLBACK: "roll_back",
    FREEZE: "freeze",
}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as the control plane tells it, and what this release has done to it so far."""

    base: str = ""  # "": nothing of the pipeline is served
    canary: str = ""
    percent: int = 0
    former: str = ""  # the base before this one
    frozen: bool = False
    frozen_by: str = ""
    frozen_reason: str = ""
    number: int = 0  # of changes ever
    # What this release has changed: begin, canary, promote, roll_back, freeze.
    ours: frozenset[str] = frozenset()
    led: bool = False  # the version is the canary, or the base, by this release and not by somebody else

    @property
    def is_served(self) -> bool:
        return bool(self.base)

    def has(self, version: str) -> bool:
        """Do new sessions get this version, some of them or all?"""
        return version in (self.base, self.canary)


def seen_of(detail: Mapping[str, Any] | None, settings: Settings) -> Seen:
    if detail is None:
        return Seen()
    rollout: Mapping[str, Any] = detail["rollout"]
    changes: Sequence[Mapping[str, Any]] = detail["changes"]
    bases = rollout.get("bases") or ()
    return Seen(
        base=rollout["base"],
        canary=rollout.get("canary") or "",
        percent=rollout.get("percent", 0),
        former=bases[-1] if bases else "",
        frozen=rollout.get("frozen", False),
        frozen_by=rollout.get("frozen_by", ""),
        frozen_reason=rollout.get("frozen_reason", ""),
        number=detail["number"],
        ours=frozenset(one["what"] for one in changes if one["reason"] == settings.reason),
        led=_led(changes, settings),
    )


def _led(changes: Sequence[Mapping[str, Any]], settings: Settings) -> bool:
    """Who led sessions to the version where it stands now? Whoever only changes the share of a canary has not led it out."""
    place, led = "", False
    for one in changes:
        at = "base" if one["base"] == settings.version else ""
        at = at or ("canary" if one.get("canary") == settings.version else "")
        if at != place:
            place, led = at, bool(at) and one["reason"] == settings.reason
    return led


class Do(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask for; or, with a code, why nothing can be asked for; or neither: there is nothing to do."""

    action: str = ""
    fields: Mapping[str, Any] = {}
    code: str = ""
    why: str = ""


def leading(now: Seen, settings: Settings) -> Do:
    """How new sessions, all or some of them, come to get the version."""
    version = settings.version
    if not now.is_served:
        return Do(action=BEGIN, fields=_named(settings), why="nothing of this pipeline is served yet")
    if now.has(version):
        return Do(why=f"{version} is the {_place(now, version)} already")
    if now.ours & PUT:
        return Do(
            code="canary_gone", why=f"{version} was led out by this release, and somebody has withdrawn it"
        )
    if now.canary:
        return Do(code="rollout_taken", why=f"the canary is {now.canary}")
    if now.frozen:
        return Do(code="rollout_frozen", why=_frozen(now))
    percent, tenants = (0, ()) if settings.direct else (settings.canary_percent, settings.tenants)
    return Do(action=CANARY, fields={**_named(settings), "percent": percent, "tenants": list(tenants)})


def promoting(now: Seen, settings: Settings) -> Do:
    """How every new session comes to get it."""
    version = settings.version
    if now.base == version:
        return Do(why=f"{version} is the base already")
    if now.canary != version:
        return Do(code="canary_gone", why=f"the canary is {now.canary or 'withdrawn'}, not {version}")
    if CALLED[CANARY] in now.ours and not now.led:
        return Do(code="canary_gone", why=f"{version} was withdrawn, and somebody else has led it out again")
    if now.frozen:
        return Do(code="rollout_frozen", why=_frozen(now))
    return Do(action=PROMOTE, fields=_named(settings))


def withdrawing(now: Seen, settings: Settings) -> Do:
    """The way back, which waits for nobody: to what was served before; where nothing was, nobody new is led anywhere."""
    version, pipeline = settings.version, settings.pipeline
    if not now.has(version):
        return Do(why=f"no new session gets {version}")
    if not now.led:
        return Do(why=f"somebody else has led sessions to {version}: it stays the {_place(now, version)}")
    if now.canary == version:
        return Do(action=ROLLBACK, fields={"pipeline": pipeline, "version": now.base})
    if now.former:
        return Do(action=ROLLBACK, fields={"pipeline": pipeline, "version": now.former})
    if now.frozen and now.frozen_by != BY_BUDGET:
        return Do(why=f"there is no version to go back to, and {_frozen(now)}")
    return Do(action=FREEZE, fields={"pipeline": pipeline}, why="there is no version to go back to")


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """Where new sessions go if this version must be taken back: decided before it is published."""

    way: str  # roll_back, freeze
    to: str  # the version
    why: str


def posture(now: Seen, settings: Settings) -> Posture:
    if now.is_served and now.base != settings.version:
        return Posture(way="roll_back", to=now.base, why=f"{now.base} is what every session gets today")
    if now.is_served and now.former:
        return Posture(way="roll_back", to=now.former, why=f"{now.former} was the base before")
    return Posture(way="freeze", to="", why="it is the first version: there is none to go back to")


def foreseen(now: Seen, settings: Settings) -> tuple[Do, ...]:
    """Every change of the rollout that this release is about to ask for, in order."""
    first = leading(now, settings)
    if first.code in ("rollout_frozen", "rollout_taken"):  # asked for once that is over
        first = leading(msgspec.structs.replace(now, frozen=False, canary=""), settings)
    if first.action == CANARY or (not first.action and now.canary == settings.version):
        last = Do(action=PROMOTE, fields=_named(settings))
        return (first, last) if first.action else (last,)
    return (first,) if first.action else ()


def _named(settings: Settings) -> dict[str, Any]:
    return {"pipeline": settings.pipeline, "version": settings.version}


def _place(now: Seen, version: str) -> str:
    return "base" if now.base == version else "canary"


def _frozen(now: Seen) -> str:
    return f"the rollout is frozen by {now.frozen_by}: {now.frozen_reason}"
