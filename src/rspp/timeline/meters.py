"""What recording costs and loses, counted all the time; the names are the contract's."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.words import RecordingLevel

log = logging.getLogger("rspp.recorder")
MISSING_ALERT: Final = "or02_required_field_missing_total_gt_0"


class RecorderMeters(msgspec.Struct):
    """One process's. Counters only rise; levels count the sessions that are recorded at each now."""

    # Sessions that are recorded below the level that they began at, and by how many steps; bounded: by the sessions.
    reduced: dict[str, int] = {}

    recording_level_current: dict[str, int] = {}
    recording_downgrade_total: dict[str, int] = {}  # by "old>new"
    or02_turns_total: int = 0
    or02_required_field_missing_total: int = 0
    detail_lost_total: dict[str, int] = {}  # records, by reason
    evidence_refused_total: dict[str, int] = {}  # by reason
    written_bytes_total: int = 0
    written_records_total: int = 0
    sessions_unsampled_total: int = 0

    def opened(self, level: RecordingLevel) -> None:
        _add(self.recording_level_current, level.value)

    def closed(self, level: RecordingLevel) -> None:
        _add(self.recording_level_current, level.value, -1)

    def changed(
        self, session_id: str, old: RecordingLevel, new: RecordingLevel, trigger: str, at: int
    ) -> None:
        """The level of a session's recording is another from now on."""
        self.closed(old)
        self.opened(new)
        steps = self.reduced.pop(session_id, 0) + (1 if new.value < old.value else -1)
        if steps > 0:
            self.reduced[session_id] = steps
        if new.value < old.value:
            _add(self.recording_downgrade_total, f"{old}>{new}")
        log.warning(
            "recording_level_transition",
            extra={"session": session_id, "old": old.value, "new": new.value, "trigger": trigger, "at": at},
        )

    def ended(self, session_id: str) -> None:
        """Nothing more is recorded of this session."""
        self.reduced.pop(session_id, None)

    def pressed(self, fill: float, lag_ms: int, sessions: int, *, over: bool) -> None:
        """The recorder's queue is filling or its export is late; or that is over."""
        log.warning(
            "recording_pressure_snapshot",
            extra={"fill": round(fill, 3), "lag_ms": lag_ms, "sessions": sessions, "over": over},
        )

    def lost(self, session_id: str, reason: str, records: int, *, first: bool) -> None:
        _add(self.detail_lost_total, reason, records)
        if first:  # of this turn
            log.warning("recording_detail_lost", extra={"session": session_id, "reason": reason})

    def refused(self, session_id: str, record_id: str, reason: str) -> None:
        _add(self.evidence_refused_total, reason)
        log.error(
            "recording_evidence_refused",
            extra={"session": session_id, "record": record_id, "reason": reason},
        )

    def turn(self, session_id: str, evidence: TurnEvidence | None, stamp: CloseStamp | None) -> None:
        """A turn is closed: is all there that must be? Without evidence nothing is."""
        self.or02_turns_total += 1
        missing = ("evidence",) if evidence is None else missing_fields(evidence, stamp)
        if missing:
            self.or02_required_field_missing_total += len(missing)
            log.error(
                "or02_required_field_missing",
                extra={
                    "session": session_id,
                    "turn": evidence.turn_id if evidence else "",
                    "fields": list(missing),
                },
            )

    def alerts(self) -> tuple[str, ...]:
        return (MISSING_ALERT,) if self.or02_required_field_missing_total else ()


def _add(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by
