"""A version is watched while its first sessions run: through the control plane, and across any number of restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.release.changing import seen
from rspp.cli.release.ground import Ground, Outcome, failing, lacking, passing
from rspp.cli.release.plane import ITEMS_MAX, STATUSES_MAX, pages
from rspp.cli.release.progress import Attempt, last
from rspp.cli.release.reports import FOLDER, as_json
from rspp.cli.release.rolling import now_of, withdraw
from rspp.cli.release.steps import StepName
from rspp.cli.release.watching import Look, Rules, Verdict, Watch, figures, judged, watched
from rspp.cli.verify.engine import Found
from rspp.contract.errors import RsppError
from rspp.control.config.rollout import BY_BUDGET
from rspp.control.fleet.provider_health import ProviderState
from rspp.control.fleet.status import Status

FILE: Final = "observation.json"
# To ask again will not help: somebody must do something.
REFUSALS: Final = ("unauthenticated", "permission_denied", "payload_too_large", "release_other_plane")


class Leaves(Exception):  # noqa: N818 - no error: nobody wants to wait for the rest now
    """The step goes on when somebody resumes it."""


def observe(at: Ground) -> Outcome:
    """Until it is over, or something is wrong; then back, at once."""
    settings = at.settings
    rules = Rules(
        sessions_min=settings.sessions_min, errors_max=settings.errors_max, aborts_max=settings.aborts_max
    )
    watch = _kept(at) or _begun(at)
    while watch.verdict is Verdict.ON:
        try:
            watch = judged(watched(watch, _look(at, watch)), rules)
        except RsppError as error:
            if error.code in REFUSALS or at.wall_ms() >= watch.until_ms:
                raise
            at.say(f"observe: the control plane gave no answer ({error.code})")
        at.put(FILE, as_json(watch))
        if watch.verdict is Verdict.ON:
            at.say(_progress(watch))
            if not at.asked.wait:
                raise Leaves(_progress(watch))
            at.sleep(max(0.01, min(settings.every_ms, watch.until_ms - at.wall_ms()) / 1000))
    return _ended(at, watch)


def _ended(at: Ground, watch: Watch) -> Outcome:
    outputs, facts = {"OBSERVATION": at.put(FILE, as_json(watch))}, figures(watch)
    said = f"{facts['sessions']} sessions, {facts['bad']} failed, in {(watch.looked_ms - watch.started_ms) / 1000:.0f} s"
    if watch.verdict is Verdict.HEALTHY:
        return passing(said, facts=facts, outputs=outputs)
    why = "; ".join(watch.why)
    if watch.verdict is Verdict.TOO_FEW:
        why += f"; {_led_to(at)} get the version: does anybody call?"
    if watch.verdict is Verdict.TOO_FEW:
        requirement = (
            f"enough sessions: rspp release resume {at.settings.ref} --observe-more 10m, or --min-sessions N"
        )
        return lacking("too_few_sessions", why, requirement, facts=facts, outputs=outputs)
    fix = (
        "See why these sessions failed (`rspp timeline SESSION`), and release what mends it as a new version."
    )
    found = tuple(Found(what=one, fix=fix) for one in (*watch.why, *watch.bad))
    if watch.verdict is Verdict.GONE:
        return failing("canary_gone", why, found, facts=facts, outputs=outputs)
    changes, back = withdraw(at)
    return failing("canary_unhealthy", f"{why}; {back}", found, facts=facts, outputs=outputs, changes=changes)


# ---- what is looked at -----------------------------------------------------------------------------------------------


def _led_to(at: Ground) -> str:
    now = now_of(at)
    if now.base == at.settings.version:
        return "all new sessions"
    tenants = f" and all of {', '.join(at.settings.tenants)}" if at.settings.tenants else ""
    return f"{now.percent} % of new sessions{tenants}"


def _begun(at: Ground) -> Watch:
    """A new observation; or the one that saw too little, with more time; or the one that was broken off, as it was."""
    now, settings = at.wall_ms(), at.settings
    before = last(at.so_far[:-1], StepName.OBSERVE)
    least = settings.sessions_min if at.asked.sessions_min is None else at.asked.sessions_min
    old = None if before is None else _read(at.file(FILE, before.number))
    if old is not None and before is not None and old.verdict is Verdict.ON:
        return msgspec.structs.replace(
            old, sessions_min=least, until_ms=old.until_ms + at.asked.observe_more_ms
        )
    if old is not None and before is not None and before.code == "too_few_sessions":
        more = msgspec.structs.replace(old, verdict=Verdict.ON, why=(), sessions_min=least)
        return msgspec.structs.replace(more, until_ms=now + at.asked.observe_more_ms)
    graph = at.plane.ask("pipelines.graph", pipeline=settings.pipeline, version=settings.version)["graph"]
    providers = tuple(sorted({one for names in graph.get("providers", {}).values() for one in names}))
    return Watch(
        started_ms=now,
        until_ms=now + settings.observe_ms,
        sessions_min=least,
        providers=providers,
        unhealthy_before=_unhealthy(at, providers),
    )


def _kept(at: Ground) -> Watch | None:
    """What a process that was killed in this step has seen."""
    return _read(at.file(FILE))


def _read(path: Path) -> Watch | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Watch)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _look(at: Ground, watch: Watch) -> Look:
    rollout = now_of(at)
    tenants, sessions = _sessions(at)
    return Look(
        at_ms=at.wall_ms(),
        sessions=sessions,
        tenants=tenants,
        burned=rollout.frozen_reason if rollout.frozen_by == BY_BUDGET else "",
        unhealthy=_unhealthy(at, watch.providers),
        there=rollout.has(at.settings.version),
    )


def _sessions(at: Ground) -> tuple[int, dict[str, Status]]:
    """Every session of this version that the control plane still has a word of, of every tenant that is known to call; and of
    how many tenants.
    """
    leased = pages(at.plane, "sessions.list", ended=True, limit=ITEMS_MAX)
    tenants = dict.fromkeys((*at.settings.tenants, *(one["tenant"] for one in leased)))
    found: dict[str, Status] = {}
    for tenant in tenants:
        items = pages(
            at.plane, "sessions.statuses", tenant=tenant, pipeline=at.settings.ref, limit=STATUSES_MAX
        )
        for status in (msgspec.convert(one, Status) for one in items):
            if status.opened_ms >= at.settings.begun_wall_ms:
                found[f"{status.tenant}/{status.session}"] = status
    return len(tenants), found


def shown(folder: Path, so_far: Sequence[Attempt]) -> dict[str, Any] | None:
    """What the last observation has looked at, as far as it has come."""
    one = last(so_far, StepName.OBSERVE)
    watch = None if one is None else _read(folder / FOLDER / f"{one.number}-{FILE}")
    return None if watch is None else {**figures(watch), "verdict": watch.verdict}


def _unhealthy(at: Ground, providers: tuple[str, ...]) -> tuple[str, ...]:
    items: list[dict[str, Any]] = (seen(at.plane, "fleet.health") or {"items": []})["items"]
    return tuple(
        one["provider"]
        for one in items
        if one["state"] == ProviderState.UNHEALTHY and one["provider"] in providers
    )


def _progress(watch: Watch) -> str:
    left_s = max(0, watch.until_ms - watch.looked_ms) / 1000
    seen = figures(watch)
    return f"observe: {seen['sessions']} sessions, {seen['bad']} failed, {seen['degraded']} degraded; {left_s:.0f} s to go"
