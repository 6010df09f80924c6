"""Consent of somebody else, where the control plane's rule or the release asks for it: proposed once, exactly as it will be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.cli.release.changing import request_of, seen
from rspp.cli.release.ground import Ground, Outcome, failing, lacking, passing
from rspp.cli.release.matching import PROPOSE
from rspp.cli.release.rollouts import Do, Seen, foreseen, seen_of
from rspp.cli.release.settings import Settings
from rspp.cli.verify.engine import Found
from rspp.control.operations.calling import digest_of

EVERYBODY: Final = "*"
OPEN, APPROVED, REJECTED = "open", "approved", "rejected"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One change that needs consent, and how that stands."""

    operation: str
    digest: str
    state: str = ""  # "": nobody has proposed it
    proposal: str = ""
    by: str = ""


def needing(kinds: Sequence[str], settings: Settings, now: Seen) -> tuple[Do, ...]:
    """Of what this release is about to do, what must be consented to. Pure."""
    every = foreseen(now, settings)
    asked = {one.action for one in every if EVERYBODY in kinds or one.action in kinds}
    if settings.require_approval and every:
        asked.add(every[-1].action)
    return tuple(one for one in every if one.action in asked)


def standing(do: Do, proposals: Sequence[Mapping[str, Any]], settings: Settings, now_ms: int) -> Wanted:
    """What was proposed of exactly this, and what came of it: the best news counts, and a no only to this release. Pure."""
    digest = digest_of(request_of(do.action, {**do.fields, "reason": settings.reason}))
    same = [one for one in proposals if one["operation"] == do.action and one["digest"] == digest]
    alive = [one for one in same if one["expires_at_ms"] > now_ms]
    for state, among in ((APPROVED, alive), (OPEN, alive)):
        for one in among:
            if one["state"] == state:
                return _wanted(do, digest, one)
    for one in same:
        if one["state"] == REJECTED and settings.session in one["reason"]:
            return _wanted(do, digest, one)
    return Wanted(operation=do.action, digest=digest)


def _wanted(do: Do, digest: str, one: Mapping[str, Any]) -> Wanted:
    return Wanted(
        operation=do.action,
        digest=digest,
        state=one["state"],
        proposal=one["proposal"],
        by=one.get("decided_by") or one["author"],
    )


def approval(at: Ground) -> Outcome:
    """Whatever needs consent has it; what nobody has proposed yet is proposed."""
    kinds = at.plane.ask("approvals.rule")["kinds"]
    now = seen_of(seen(at.plane, "rollout.show", pipeline=at.settings.pipeline), at.settings)
    wanted = [_proposed(at, do) for do in needing(kinds, at.settings, now)]
    facts = {"rule": list(kinds), "proposals": msgspec.to_builtins(wanted)}
    if not wanted:
        return passing("nothing that this release will do waits for consent", facts=facts)
    refused = [one for one in wanted if one.state == REJECTED]
    if refused:
        fix = "Ask why; begin a new release once they agree."
        found = [
            Found(what=f"{one.operation} was rejected by {one.by} ({one.proposal})", fix=fix)
            for one in refused
        ]
        return failing("approval_rejected", found[0].what, found, facts=facts)
    waiting = [one for one in wanted if one.state != APPROVED]
    if waiting:
        summary = f"waits for the consent of somebody else to {', '.join(one.operation for one in waiting)}"
        requirements = tuple(asked_of_others(one, at.settings) for one in waiting)
        return lacking("approval_waiting", summary, facts=facts, requirements=requirements)
    return passing(", ".join(f"{one.operation} approved by {one.by}" for one in wanted), facts=facts)


def asked_of_others(one: Wanted, settings: Settings) -> str:
    """The requirement: what is to be decided, and the command for somebody else."""
    command = f"rspp control approvals approve {one.proposal} --tenant '*' --reason 'seen and tried'"
    return f"{one.operation} of {settings.ref} is approved by somebody else than its author: {command}"


def _proposed(at: Ground, do: Do) -> Wanted:
    found = standing(do, at.plane.ask("approvals.list")["items"], at.settings, at.wall_ms())
    if found.state:
        return found
    fields = {**do.fields, "reason": at.settings.reason}
    made = at.plane.ask(
        PROPOSE, tenant=EVERYBODY, operation=do.action, request=fields, reason=at.settings.reason
    )
    at.say(f"proposed {do.action}: {made['proposal']}")
    return msgspec.structs.replace(found, state=OPEN, proposal=made["proposal"], by=made["author"])


def undecided(
    plane_items: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], now_ms: int
) -> tuple[str, ...]:
    """Of the proposals of a report, those that nobody has decided. Pure."""
    state = {one["proposal"]: one for one in plane_items}
    names = [one["proposal"] for one in facts.get("proposals", ()) if one["state"] == OPEN]
    return tuple(
        name
        for name in names
        if name in state and state[name]["state"] == OPEN and state[name]["expires_at_ms"] > now_ms
    )


__all__ = ["Wanted", "approval", "asked_of_others", "needing", "standing", "undecided"]
