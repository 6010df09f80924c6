"""Whoever comes without a token that is taken is on record, but cannot fill the record: so many a minute, and of more their number.

Nobody knows who a stranger is, and one of them may have any number of addresses. Past the bound nothing is written and nobody
waits; the next record that is written says how many were not.
"""

from __future__ import annotations

import logging
from typing import Final

from rspp.contract.event import NS_PER_MS
from rspp.control.security.audit import Audit
from rspp.host.ports import Clock

STRANGER: Final = "anonymous"
ACTION: Final = "authenticate"
RECORDS_MAX: Final = 120
WINDOW_MS: Final = 60_000
_LOG: Final = logging.getLogger(__name__)


class Strangers:
    """One process's record of those who were not let in."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self.unrecorded = 0  # since the last record
        self._audit = audit
        self._clock = clock
        self._began: int | None = None
        self._written = 0  # since it began

    async def refused(self, address: str, code: str) -> None:
        """On record when this returns, unless there were too many; raises AuditFault if it could not be written."""
        now = self._clock.now()
        if self._began is None or now - self._began >= WINDOW_MS * NS_PER_MS:
            self._began, self._written = now, 0
        if self._written >= RECORDS_MAX:
            if not self.unrecorded:
                _LOG.warning("more than %d refused tokens a minute: the rest is only counted", RECORDS_MAX)
            self.unrecorded += 1
            return
        self._written += 1
        missed, self.unrecorded = self.unrecorded, 0
        facts = {"address": address} | ({"unrecorded_before": str(missed)} if missed else {})
        try:
            await self._audit.denied(STRANGER, ACTION, None, code, facts)
        except BaseException:
            self.unrecorded += missed + 1
            raise
