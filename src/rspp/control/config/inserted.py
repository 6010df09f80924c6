"""That a policy's nodes are in a tenant's calls is on record: which node, at whose word, in which graph."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from rspp.contract.errors import RsppError
from rspp.control.security.audit import AuditEntry

log = logging.getLogger("rspp.control.config.inserted")

ACTION: Final = "policy.inserted"
# Records that are on their way to the store at a time; one more is told to the log instead.
WAITING_MAX: Final = 100
FACTS_MAX: Final = 30


class Writes(Protocol):
    """The audit log."""

    async def done(
        self, principal_id: str, action: str, tenant_id: str | None, reason: str, facts: dict[str, str]
    ) -> AuditEntry: ...


class InsertionAudit:
    """`view.on_inserted(InsertionAudit(audit, member_id))`: nothing waits for the record, and `flushed` does."""

    def __init__(self, audit: Writes, principal_id: str) -> None:
        self._audit = audit
        self._principal_id = principal_id
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: WAITING_MAX

    def __call__(self, tenant_id: str, graph_ref: str, nodes: dict[str, str]) -> None:
        if len(self._tasks) >= WAITING_MAX:
            log.error("no room to record the policy nodes of %s: %s", graph_ref, ", ".join(nodes))
            return
        task = asyncio.get_running_loop().create_task(self._write(tenant_id, graph_ref, nodes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flushed(self) -> None:
        """All that was told until now is in the store, or in the log as lost."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _write(self, tenant_id: str, graph_ref: str, nodes: dict[str, str]) -> None:
        facts = {"graph": graph_ref, **dict(list(nodes.items())[:FACTS_MAX])}
        reason = ", ".join(sorted(set(nodes.values())))[:500]
        try:
            await self._audit.done(self._principal_id, ACTION, tenant_id, reason, facts)
        except (RsppError, OSError) as error:
            log.error("the policy nodes of %s are not on record: %s", graph_ref, error)  # noqa: TRY400 - no trace needed
