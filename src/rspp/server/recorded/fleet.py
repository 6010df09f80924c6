"""Providers and load: made of the rows that an asker may see, of workers' words, and of nothing that nobody said.

A latency that no worker reports is None. Of a provider it is the slowest worker's, so nobody is better than they say. `answer` is
how soon the last turn of each session was heard; stages are this process's own meters, where it serves calls itself, and
elsewhere what workers tell of their providers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import LEVELS, Level, Row
from rspp.control.authority.members import WORKER, MemberState
from rspp.control.fleet.provider_health import FleetHealth, ProviderReport, ProviderState
from rspp.control.fleet.status import SessionWord
from rspp.host.meters import HistogramReading, Reading
from rspp.server.recorded.words import Load, Point, Provider

Rows = Callable[[str], Sequence[Row]]
Session = tuple[str | None, str]

MINUTE_MS: Final = 60_000
LOOK_MS: Final = 5_000
LOOKS_MAX: Final = MINUTE_MS // LOOK_MS + 2
SESSIONS_MAX: Final = 20_000
RTT: Final = "provider_rtt_ms"
FIRST_OUTPUT: Final = "turn_first_output_ms"


# ---- providers -----------------------------------------------------------------------------------------------------


def providers_of(
    health: Iterable[FleetHealth],
    reports: Mapping[str, Sequence[ProviderReport]],
    modalities: Mapping[str, Iterable[str]],
    rows: Rows,
) -> list[Provider]:
    """Every provider that a worker speaks of, or that a served graph names."""
    known = {one.provider: one for one in health}
    cut_by: dict[str, int] = {}
    for row in rows("circuits"):
        if not row.over:
            name = str(row.facts.get("provider", row.aggregate_id))
            cut_by[name] = cut_by.get(name, 0) + 1
    levels: dict[str, Level] = {}
    for row in rows("provider_health"):
        name = str(row.facts.get("provider", ""))
        levels[name] = max(levels.get(name, Level.OK), row.level, key=LEVELS.index)
    return [
        _provider(
            name,
            known.get(name) or FleetHealth(provider=name, state=ProviderState.UNKNOWN),
            reports.get(name, ()),
            ", ".join(sorted(modalities.get(name, ()))),
            cut_by.get(name, 0),
            levels.get(name, Level.OK),
        )
        for name in sorted({*known, *modalities})
    ]


def _provider(
    name: str,
    health: FleetHealth,
    reports: Sequence[ProviderReport],
    modality: str,
    cut_by: int,
    level: Level,
) -> Provider:
    ill = sum(one.state is ProviderState.UNHEALTHY for one in reports)
    if health.state is ProviderState.UNHEALTHY or health.circuit_open:
        level = max(level, Level.DEGRADED, key=LEVELS.index)
    return Provider(
        name=name,
        modality=modality,
        state=health.state.value,
        circuit="open" if health.circuit_open else "open for some" if cut_by else "closed",
        level=level,
        availability=None if health.availability is None else health.availability / 100,
        p50_ms=_most(one.latency_p50_ms for one in reports),
        p95_ms=_most(one.latency_p95_ms for one in reports),
        calls=float(health.calls),
        failures=float(health.failures),
        price=None if health.price is None else float(health.price),
        workers=health.members,
        reason=f"fails, as {ill} of {len(reports)} workers see it" if ill else "",
    )


def _most(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(max(known)) if known else None


# ---- load ----------------------------------------------------------------------------------------------------------


class TurnRate:
    """Turns of the last minute, from how many each session has had: looked at when somebody asks, some seconds apart."""

    def __init__(self) -> None:
        self._looks: deque[tuple[int, dict[Session, int]]] = deque(maxlen=LOOKS_MAX)

    def take(self, wall_ms: int, sessions: Iterable[Row]) -> None:
        """How many turns each session has had by now."""
        if self._looks and wall_ms - self._looks[-1][0] < LOOK_MS:
            return
        turns = {_key(row): int(row.facts.get("turns", 0)) for row in list(sessions)[:SESSIONS_MAX]}
        self._looks.append((wall_ms, turns))

    def a_minute(self, wall_ms: int, sessions: Sequence[Row], last_turns: Sequence[Row]) -> float:
        """Of these sessions. Before anybody has looked twice it is the sessions whose last turn was in this minute."""
        looks = [look for look in self._looks if wall_ms - look[0] <= MINUTE_MS]
        if not looks or wall_ms - looks[0][0] < LOOK_MS:
            return float(sum(wall_ms - row.since_ms < MINUTE_MS for row in last_turns if row.since_ms))
        at, before = looks[0]
        opened = sum(
            max(0, int(row.facts.get("turns", 0)) - before.get(_key(row), _at_least(row, at)))
            for row in sessions
        )
        return round(opened * MINUTE_MS / (wall_ms - at), 1)


def _at_least(row: Row, at: int) -> int:
    """A session that was not there then had no turns, unless it was opened before and not told of."""
    opened_ms = int(row.facts.get("opened_ms", 0))
    return 0 if opened_ms >= at else int(row.facts.get("turns", 0))


def _key(row: Row) -> Session:
    return (row.tenant_id, row.aggregate_id)


def load_of(
    rows: Rows, tenant: str | None, wall_ms: int, rate: TurnRate, reading: Reading | None = None
) -> Load:
    """How much is going on, as far as these rows tell. Workers are nobody's: of one tenant only its sessions are counted."""
    sessions = [row for row in rows("sessions") if tenant in (None, row.tenant_id)]
    live = [row for row in sessions if not row.over]
    turns = [row for row in rows("turns") if tenant in (None, row.tenant_id) and not row.over]
    workers = [row for row in rows("workers") if row.facts.get("kind") == WORKER and not row.over]
    up = [row for row in workers if row.state == MemberState.UP.value]
    return Load(
        sessions=len(live),
        capacity=sum(int(row.facts.get("capacity", 0)) for row in up),
        degraded=sum(row.state == SessionWord.DEGRADED.value for row in live),
        turns_per_minute=rate.a_minute(wall_ms, sessions, turns),
        workers=len([row for row in workers if row.state != MemberState.LOST.value]),
        workers_ready=sum(bool(row.facts.get("ready")) for row in up),
        answer=point_of(
            "answer", (row.facts.get("heard_ms", row.facts.get("first_output_ms")) for row in turns)
        ),
        stages=[] if reading is None or tenant is not None else stages_of(reading),
        interrupt_stop_ms=point_of("interrupt_stop", (row.facts.get("stop_ms") for row in turns)),
    )


def point_of(name: str, values: Iterable[object]) -> Point:
    """Nearest rank; without a sample there is none."""
    found = sorted(float(one) for one in values if isinstance(one, int | float))
    if not found:
        return Point(name=name)
    p50, p95, p99 = (found[-(-len(found) * share // 100) - 1] for share in (50, 95, 99))
    return Point(name=name, p50_ms=p50, p95_ms=p95, p99_ms=p99, count=float(len(found)))


def stages_of(reading: Reading) -> list[Point]:
    """This process's own stages, since it began: each modality's answer, and a turn's first output."""
    found: dict[str, list[HistogramReading]] = {}
    for one in reading.histograms:
        if one.name == RTT and one.summary.count:
            found.setdefault(dict(one.labels).get("modality", ""), []).append(one)
        elif one.name == FIRST_OUTPUT and one.summary.count:
            found.setdefault("first_output", []).append(one)
    return [_slowest(name, series) for name, series in sorted(found.items())]


def stages_told(providers: Iterable[Provider]) -> list[Point]:
    """What workers tell of those that they call: of each modality the slowest, since quantiles cannot be added."""
    found: dict[str, list[Provider]] = {}
    for one in providers:
        if one.p50_ms is not None and one.calls:
            found.setdefault(one.modality, []).append(one)
    return [
        Point(
            name=modality,
            p50_ms=max((one.p50_ms for one in mine if one.p50_ms is not None), default=None),
            p95_ms=max((one.p95_ms for one in mine if one.p95_ms is not None), default=None),
            count=sum(one.calls for one in mine),
        )
        for modality, mine in sorted(found.items())
    ]


def _slowest(name: str, series: Sequence[HistogramReading]) -> Point:
    """Of several pipelines or providers the slowest one's: quantiles cannot be added."""
    summaries = [one.summary for one in series]

    def most(values: Iterable[int | None]) -> float | None:
        known = [value for value in values if value is not None]
        return round(max(known) / NS_PER_MS, 3) if known else None

    return Point(
        name=name,
        p50_ms=most(one.p50 for one in summaries),
        p95_ms=most(one.p95 for one in summaries),
        p99_ms=most(one.p99 for one in summaries),
        count=float(sum(one.count for one in summaries)),
    )
