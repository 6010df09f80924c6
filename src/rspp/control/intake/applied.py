"""Each time a quota acts it is counted, by tenant, quota and action, and said in the log: the two agree.

A burst of 1,900 refusals is one line, and a second later another one with the other 1,899: the log is not what a burst breaks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from rspp.control.intake.quotas import Moment, Verdict
from rspp.host.meters import Meters

log = logging.getLogger("rspp.control.intake.quotas")

COUNTER: Final = "quota_actions_total"
LINE_EVERY_S: Final = 1.0
# Tenants and quotas that act within one second; of more, each is said at once.
KINDS_MAX: Final = 10_000

_Kind = tuple[str, str, str, str]


class Applied:
    """Counts and logs what quotas did. Of more tenants than a process has series for, the rest share one."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._unsaid: dict[_Kind, tuple[int, Verdict | None]] = {}  # bounded: KINDS_MAX

    def note(self, tenant_id: str, verdict: Verdict, moment: Moment) -> None:
        """A session or a turn of this tenant was refused, put off or degraded."""
        if verdict.action is None or verdict.quota is None:
            return
        kind = (tenant_id, verdict.quota.value, verdict.action.value, moment.value)
        tenant, quota, action, when = kind
        self._meters.counter(COUNTER, tenant=tenant, quota=quota, action=action, moment=when).add()
        if kind in self._unsaid:
            self._unsaid[kind] = (self._unsaid[kind][0] + 1, verdict)
            return
        _say(kind, 1, verdict)
        if len(self._unsaid) < KINDS_MAX:
            self._unsaid[kind] = (0, None)
            asyncio.get_running_loop().call_later(LINE_EVERY_S, self._say_rest, kind)

    def _say_rest(self, kind: _Kind) -> None:
        count, verdict = self._unsaid.pop(kind)
        if verdict is not None:
            _say(kind, count, verdict)
            self._unsaid[kind] = (0, None)
            asyncio.get_running_loop().call_later(LINE_EVERY_S, self._say_rest, kind)


def _say(kind: _Kind, count: int, verdict: Verdict) -> None:
    tenant, quota, action, moment = kind
    log.warning(
        "quota_applied",
        extra={
            "tenant": tenant,
            "quota": quota,
            "action": action,
            "moment": moment,
            "count": count,
            "used": verdict.used,
            "most": verdict.most,
        },
    )
