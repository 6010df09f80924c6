"""Recordings in, one report out. Each recording is read once and let go; only its anchors stay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from rspp import __version__
from rspp.host.alerts import Alert
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import Targets
from rspp.timeline.gates import latency, targets, turns
from rspp.timeline.gates.authority import Trials, trials
from rspp.timeline.gates.facts import SessionFacts, TurnFacts, gather
from rspp.timeline.gates.report import (
    CONTRACT,
    FORMAT,
    NS_PER_MS,
    EndToEnd,
    Gate,
    GateReport,
    Overhead,
    Side,
    Slow,
    Subject,
    Thresholds,
    differences,
    gate,
    percentile_ms,
    sealed,
)
from rspp.timeline.gates.side import Redone, metrics
from rspp.timeline.recording import Recording
from rspp.timeline.sense import check_items

SLOWEST_MAX: Final = 3  # of a gate that measures time, so many turns are named


class Judge:
    """Takes recordings; `report` says what they are worth.

    `replays` are the node types of this program: with them every session is done again as well. `own` targets replace
    those of the recorded pipelines.
    """

    def __init__(
        self,
        thresholds: Thresholds = CONTRACT,
        *,
        replays: Mapping[str, NodeFactory] | None = None,
        own: Targets | None = None,
    ) -> None:
        self.thresholds = thresholds
        self._replays = replays
        self._own = own
        self._sessions: list[SessionFacts] = []
        self._trials: list[Trials] = []
        self._redone = Redone(plan_steps_ns=[], not_done=[]) if replays is not None else None
        self._targets: dict[str, Targets] = {}
        self._began: dict[
            str, tuple[int, int]
        ] = {}  # digest -> wall-clock ms and session ns of the beginning
        self._taken: set[str] = set()

    def take(self, recording: Recording) -> bool:
        """One recording; False if this very one was taken before, so that no turn counts twice. Raises CodecError for a trace
        that no kernel could have left.
        """
        check_items(recording.items)
        facts = gather(recording)
        if facts.digest in self._taken:
            return False
        self._taken.add(facts.digest)
        self._sessions.append(facts)
        self._trials.append(trials(recording))
        self._began[facts.digest] = recording.head.opened_wall_ms, recording.began_at
        known = self._own or recording.head.graph.targets
        if known is not None:
            self._targets[facts.pipeline] = known
        if self._redone is not None and self._replays is not None:
            self._redone.take(recording, self._replays)
        return True

    def report(self, made_wall_ms: int, overhead: Overhead | None = None) -> GateReport:
        gates = self._gates()
        side = metrics(self._turns(), self._redone)
        reached, alerts = self._end_to_end()
        sessions = sorted(self._sessions, key=lambda one: (one.session_id, one.digest))
        identity = hashlib.sha256("".join(one.digest for one in sessions).encode()).hexdigest()
        verdicts = [one.passed for one in gates] + [one.passed for one in side]
        passed = all(verdicts) and (overhead is None or overhead.passed)
        made = GateReport(
            format=FORMAT,
            made_wall_ms=made_wall_ms,
            runtime=__version__,
            subjects=[_subject(one) for one in sessions],
            digest=identity,
            gates=gates,
            side=side,
            end_to_end=reached,
            alerts=alerts,
            thresholds=self.thresholds,
            differs=differences(self.thresholds),
            passed=passed,
            overhead=overhead,
        )
        return sealed(made)

    # ---- gates -------------------------------------------------------------------------------------------------------

    def _turns(self) -> list[TurnFacts]:
        return [turn for session in self._sessions for turn in session.turns.values()]

    def _gates(self) -> list[Gate]:
        every, limits = self._turns(), self.thresholds
        evidence, terminals = turns.evidence(every), turns.terminals(every)
        return [
            _late(
                latency.open_decision(every),
                "open decision",
                "turn_open_at - turn_open_proposed_at",
                {"p95_ms": limits.open_decision_p95_ms},
                "no turn was accepted",
            ),
            _late(
                latency.first_output(every),
                "first output",
                "first_output_at - turn_open_at, happy path",
                {"p95_ms": limits.first_output_p95_ms},
                "no turn took the happy path",
            ),
            _late(
                latency.cancel_fence(every),
                "cancel fence",
                "cancel_fence_at - cancel_accepted_at",
                {"p95_ms": limits.cancel_fence_p95_ms},
                "no cancellation was accepted",
            ),
            self._authority(),
            _whole(5, "evidence", "complete accepted turns / accepted turns", evidence),
            _whole(6, "terminals", "turns with exactly [terminal, close] / accepted turns", terminals),
            _late(
                latency.end_to_end(self._sessions),
                "end to end",
                "playback_started_at - audio_input_ingress_at",
                {"p50_ms": limits.end_to_end_p50_ms, "p95_ms": limits.end_to_end_p95_ms},
                "no spoken turn was heard",
            ),
        ]

    def _authority(self) -> Gate:
        found = self._trials
        return gate(
            4,
            "authority",
            "accepted stale outputs, in and out",
            {"accepted": float(sum(one.accepted for one in found))},
            {"accepted": 0.0},
            sum(one.tried for one in found),
            [violation for one in found for violation in one.violations],
            empty="no rotation, failover or stale input or output in these recordings",
        )

    # ---- the pipeline's own target -------------------------------------------------------------------------------------

    def _end_to_end(self) -> tuple[list[EndToEnd], list[Alert]]:
        reached: list[EndToEnd] = []
        alerts: list[Alert] = []
        for pipeline, wanted in sorted(self._targets.items()):
            mine = [one for one in self._sessions if one.pipeline == pipeline]
            found, raised = targets.judge(pipeline, wanted, self._samples(mine))
            reached.append(found)
            alerts += raised
        return reached, alerts

    def _samples(self, sessions: Iterable[SessionFacts]) -> list[tuple[float, int]]:
        out: list[tuple[float, int]] = []
        for session in sessions:
            wall_ms, began = self._began[session.digest]
            spans = latency.end_to_end([session])
            at_ms = (wall_ms + (at - began) / NS_PER_MS for at in spans.ends)
            out += zip(at_ms, spans.spans, strict=True)
        return out


def _late(spans: latency.Spans, name: str, formula: str, limits: Mapping[str, float], empty: str) -> Gate:
    values = {key: percentile_ms(spans.spans, int(key[1:3]) / 100) for key in limits}
    longest = sorted(zip(spans.spans, spans.turns, strict=True), key=lambda one: -one[0])[:SLOWEST_MAX]
    return gate(
        spans.number,
        name,
        formula,
        values,
        limits,
        len(spans.spans),
        spans.violations,
        empty=empty,
        slowest=[Slow(turn.session_id, turn.turn_id, span / NS_PER_MS) for span, turn in longest],
    )


def _whole(number: int, name: str, formula: str, share: turns.Share) -> Gate:
    return gate(
        number,
        name,
        formula,
        {"share": share.share},
        {"share": 1.0},
        share.turns,
        share.violations,
        least=True,
        empty="no turn was accepted",
    )


def _subject(facts: SessionFacts) -> Subject:
    return Subject(
        session_id=facts.session_id,
        tenant_id=facts.tenant_id,
        pipeline=facts.pipeline,
        level=facts.level.value,
        whole=facts.whole,
        turns=len(facts.turns),
        digest=facts.digest,
    )


def sides(report: GateReport) -> Mapping[str, Side]:
    """The metrics beside the gates, by name."""
    return {one.name: one for one in report.side}
