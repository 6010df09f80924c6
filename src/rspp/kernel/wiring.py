"""Which part of a session takes which input, and which is woken for which timer: two tables, a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rspp.kernel import inputs as i
from rspp.kernel.calls import Failure

if TYPE_CHECKING:
    from rspp.kernel.session import SessionKernel


def handlers(k: SessionKernel) -> Mapping[type, Callable[..., None]]:
    """Who takes which input: one line each."""
    return {
        i.AudioReceived: k.audio,
        i.SpeechScored: k.scored,
        i.EndOfTurnScored: k.end_scored,
        i.CallAccepted: lambda r: k.work.results.accepted(r.call_id, r.attempt),
        i.CallProduced: k.commands.produced,
        i.CallFinished: k.commands.finished,
        i.CallFailed: lambda r: k.work.recovery.failed(
            r.call_id, r.attempt, Failure(r.outcome, r.reason, r.retryable, r.circuit, r.retry_after_ms)
        ),
        i.CallCancelled: lambda r: k.work.cancelling.cancelled(r.call_id, r.attempt),
        i.TextReceived: k.commands.text,
        i.ControlReceived: k.commands.control,
        i.UnknownReceived: k.commands.unknown,
        i.MalformedReceived: k.gateway.malformed,
        i.ConnectionChanged: lambda r: k.connection.changed(r.state),
        i.DeliveryReported: k.commands.delivery,
        i.CreditGranted: k.commands.credit,
        i.LeaseChanged: k.placement.lease,
        i.MigrationChanged: k.placement.migration,
        i.RoutingViewPublished: k.placement.routing,
        i.DurableAttached: k.placement.attached,
        i.SnapshotPublished: k.commands.snapshot,
        i.SnapshotLost: k.commands.snapshot_lost,
        i.CloseRequested: lambda r: k.connection.close(r.reason, r.drain),
        i.EvidenceStored: lambda r: k.turns.evidence_stored(r.record_id, r.ok, r.reason),
        i.RecorderPressed: k.commands.pressed,
        i.NodeMeasured: k.commands.measured,
        i.NodeRaised: k.commands.node_raised,
        i.CircuitReset: lambda r: k.work.dispatch.circuit_reset(r.provider),
        i.PoolChanged: k.commands.pool,
        i.ClockObserved: k.commands.clock,
        i.FactChanged: k.commands.fact,
        i.DebugSwitched: k.commands.debug,
        i.Woken: lambda r: k.wake(k.desk.now),
    }


def timers(k: SessionKernel) -> Mapping[str, Callable[[str], None]]:
    """Who is woken for which timer."""
    return {
        "listen": lambda _: k.prelude.wake(),
        "egress": lambda _: k.egress.pump(),
        "egress.quiet": lambda _: k.egress.quiet_due(),
        "egress.overdue": lambda _: k.egress.overdue(),
        "edge": k.graph.edge_due,
        "merge": k.graph.merge_due,
        "call": k.work.recovery.call_due,
        "call.budget": k.work.recovery.budget_due,
        "call.restart": k.work.dispatch.restart_due,
        "retry": k.work.recovery.retry_due,
        "grace": k.commands.grace_due,
        "turn.budget": lambda _: k.commands.turn_budget_due(),
        "turn.defer": lambda _: k.turns.retry_deferred(),
        "turn.evidence": lambda _: k.turns.evidence_overdue(),
        "turn.speculation": lambda _: k.commands.speculation_due(),
        "connect": lambda _: k.connection.connect_due(),
        "disconnect": lambda _: k.connection.disconnect_due(),
        "drain": lambda _: k.connection.drain_due(),
        "close": lambda _: k.connection.close_due(),
        "lease": lambda _: k.placement.expire(),
    }
