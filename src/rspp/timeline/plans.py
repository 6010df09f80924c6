"""Plans of one session's turns differ in a few fields: each but the first is told as what is other than in the first.

A whole plan is thirty kilobytes, most of it where each default came from; a turn of a minute is less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.plan import ResolvedTurnPlan
from rspp.timeline import records as r

_TYPES: Final[Mapping[str, Any]] = {
    field.name: field.type for field in msgspec.structs.fields(ResolvedTurnPlan)
}


class Plans:
    """What a recorder writes of plans. `forget` when what was written may be lost: the next one is whole again."""

    def __init__(self) -> None:
        self._whole: ResolvedTurnPlan | None = None

    def record(self, plan: ResolvedTurnPlan) -> r.Plan | r.PlanLike:
        whole = self._whole
        if whole is None or whole.graph_fingerprint != plan.graph_fingerprint:
            self._whole = plan
            return r.Plan(plan=plan)
        changes = {
            name: msgspec.to_builtins(value)
            for name in _TYPES
            if (value := getattr(plan, name)) != getattr(whole, name)
        }
        return r.PlanLike(like=whole.turn_id, changes=changes)

    def forget(self) -> None:
        self._whole = None


def plan_of(record: r.Plan | r.PlanLike, plans: Mapping[str, ResolvedTurnPlan]) -> ResolvedTurnPlan | None:
    """The plan, by those before it; None if the one that it is like is not there. Raises CodecError."""
    if isinstance(record, r.Plan):
        return record.plan
    like = plans.get(record.like)
    if like is None:
        return None
    try:
        changes = {name: msgspec.convert(value, _TYPES[name]) for name, value in record.changes.items()}
    except (msgspec.ValidationError, KeyError) as error:
        raise CodecError("malformed", "plan_like.changes", str(error)) from error
    return msgspec.structs.replace(like, **changes)
