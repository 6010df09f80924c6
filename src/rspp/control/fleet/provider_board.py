"""What the fleet knows of its providers: each worker writes its own word, everybody hears all, and one at a time tries again.

    ProviderReporter    a worker's word: on change at once, else every few seconds
    ProviderBoard       all words, heard by watching the store; the answer of the fleet, or of one region of it
    Probes              of a provider that was unhealthy and that nobody calls any more, one session of the fleet tries it

A word is its worker's alone, so it is written without asking; a worker that is gone is silent, and its word expires.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS, Signal
from rspp.contract.evidence import TurnEvidence
from rspp.contract.signals import SignalName
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.contract.words import OutcomeClass
from rspp.control.fleet.provider_health import (
    FRESH_MS,
    Calls,
    FleetHealth,
    Heard,
    ProviderReport,
    ProviderState,
    Window,
    availability,
    counted,
    is_cut_off,
    judge,
    merged,
)
from rspp.control.names import HEALTH, encoded, key, parts
from rspp.host.conditions import kept, reader
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Entry, Store
from rspp.kernel.snapshot import OpenRequest, Snapshot
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.control.providers")

COUNTER: Final = "provider_invocations_total"
KIND: Final = "provider"
PREFIX: Final = f"{KIND}/"
PROBE: Final = "probe"
LOOK_MS: Final = 500
BEAT_MS: Final = 5_000
REPORT_TTL_MS: Final = 60_000
RETRY_MS: Final = 1_000
# At most one session of the fleet tries a provider in this time.
PROBE_EVERY_MS: Final = 10_000
# Providers are named by specs; one that names a thousand is not to fill memory.
PROVIDERS_MAX: Final = 1_024
MEMBERS_MAX: Final = 4_096
# Of one provider, for its latencies: some minutes of a busy worker.
CALLS_KEPT_MAX: Final = 256

_DECODE: Final = msgspec.json.Decoder(ProviderReport).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


class Circuits:
    """What this process's sessions tell of their providers: who has cut one off, and how long calls took. A listener."""

    def __init__(self) -> None:
        self._open: dict[str, set[str]] = {}  # bounded: by the sessions of the host and their candidates
        self._took_ms: dict[str, deque[int]] = {}  # bounded: PROVIDERS_MAX

    # ---- as a listener ---------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...

    def heard(self, session_id: str, signal: Signal) -> None:
        if signal.signal == SignalName.CIRCUIT_EVENT:
            self.changed(session_id, str((signal.detail or {}).get("provider")), signal.reason or "")

    def turn(self, session_id: str, evidence: TurnEvidence) -> None:  # noqa: ARG002 - the port has it
        for call in evidence.invocation_outcomes:
            if call.outcome_class is OutcomeClass.SUCCESS:
                took = self._took_ms.get(call.provider)
                if took is None and len(self._took_ms) < PROVIDERS_MAX:
                    took = self._took_ms[call.provider] = deque(maxlen=CALLS_KEPT_MAX)
                if took is not None:
                    took.append(call.total_latency_ms)

    def over(self, session_id: str, reason: str) -> None:  # noqa: ARG002 - the port has it
        for provider, sessions in list(self._open.items()):
            sessions.discard(session_id)
            if not sessions:
                del self._open[provider]

    # ---- what it knows ---------------------------------------------------------------------------------------------

    def changed(self, session_id: str, provider: str, reason: str) -> None:
        if reason == "opened":
            self._open.setdefault(provider, set()).add(session_id)
        elif reason == "closed":
            self._open.get(provider, set()).discard(session_id)

    def forget(self, provider: str) -> None:
        """Nobody has cut it off: its circuits are reset."""
        self._open.pop(provider, None)

    def count(self, provider: str) -> int:
        return len(self._open.get(provider, ()))

    @property
    def providers(self) -> list[str]:
        return [provider for provider, sessions in self._open.items() if sessions]

    def rows(self) -> list[Row]:
        """Each provider that sessions of this process have cut off."""
        return [self._row(provider) for provider in self.providers]

    def _row(self, provider: str) -> Row:
        sessions = self.count(provider)
        return Row(
            aggregate_id=provider,
            state="open",
            level=Level.DEGRADED,
            reason="circuit_open",
            message=cut(f"{provider} failed so often that sessions have cut it off: they do without it"),
            facts={"provider": cut(provider), "sessions": sessions},
        )

    def latency_ms(self, provider: str) -> tuple[int | None, int | None]:
        """p50 and p95 of the last calls that came out well, as far as turns' evidence tells of them; None without any."""
        took = sorted(self._took_ms.get(provider, ()))
        if not took:
            return None, None
        last = len(took) - 1
        return took[last * 50 // 100], took[-(-last * 95 // 100)]


def row_of(key: str, value: bytes) -> Row | None:
    """One worker's word about a provider. What ticks with every call is rounded or left out: the board has it."""
    try:
        report = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if parts(key) != (KIND, report.provider, report.member):
        return None
    ill = report.state is ProviderState.UNHEALTHY
    facts: dict[str, str | int | float | bool] = {
        "provider": cut(report.provider),
        "worker": cut(report.member),
        "region": cut(report.region),
        "circuit_open": report.circuit_open,
    }
    if report.availability is not None:
        facts["availability_about"] = report.availability // 10 * 10
    return Row(
        aggregate_id=f"{report.provider}@{report.member}",
        state=report.state.value,
        level=Level.DEGRADED if ill else Level.OK,
        reason="provider_unhealthy" if ill else "",
        message=cut(f"{report.provider} fails, as {report.member} sees it") if ill else "",
        facts=facts,
        fades_ms=FRESH_MS,
    )


SURFACE: Final = Surface(
    name="provider_health",
    owner=__name__,
    summary="How each provider fares, as each worker sees it.",
    aggregate_type="provider",
    storage=f"kv:{HEALTH}",
    truth=Truth.CANONICAL,
    read="GET /v1/provider-health",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(HEALTH, PREFIX, sole=True),
    row=row_of,
)

CIRCUITS: Final = Surface(
    name="circuits",
    owner=__name__,
    summary="Providers that sessions of a worker have cut off because they failed too often.",
    aggregate_type="circuit",
    storage="memory, said in kv:conditions",
    truth=Truth.CANONICAL,
    read="GET /v1/provider-health",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=kept(),
    row=reader("circuits"),
)


class _Word(msgspec.Struct):
    """A provider, as this worker sees it."""

    window: Window
    said: ProviderReport | None = None
    said_at: int = 0
    written: bool = True


class ProviderReporter:
    """One worker's words. It reads the host's own counters, so a call that the kernel timed out counts as what it was."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        meters: Meters,
        *,
        member_id: Callable[[], str],
        region: str,
        circuits: Circuits | None = None,
        sessions: Callable[[], int] = lambda: 0,
        prices: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self.circuits = circuits or Circuits()
        self.failures = 0  # writes that came to nothing
        self._store = store
        self._clock = clock
        self._meters = meters
        self._member_id = member_id
        self._region = region
        self._sessions = sessions
        self._prices = prices
        self._words: dict[str, _Word] = {}  # bounded: PROVIDERS_MAX

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_MS / 1000)

    async def look(self) -> int:
        """Look once, and write what is new or due; how many words were written.

        All are judged before any is written, and the first that the store does not take ends it: however long a store that
        is away lets us wait, each window still holds half a minute.
        """
        now = self._clock.now()
        totals = self._totals()
        for provider in (*totals, *self.circuits.providers):
            if provider not in self._words and len(self._words) < PROVIDERS_MAX:
                self._words[provider] = _Word(Window())
        due = [word for name, word in self._words.items() if self._judge(name, word, totals, now)]
        written = 0
        for word in due:
            try:
                await self._write(word)
                written += 1
            except MisuseError as error:
                word.written = True  # a name that no store takes: nothing will change that
                self.failures += 1
                log.warning("the health of a provider cannot be written: %s", error.code)
            except (RsppError, OSError) as error:
                self.failures += 1  # said again at the next look: nobody waits for it
                log.info("the health of a provider was not written: %s", type(error).__name__)
                break
        return written

    async def vouch(self, provider: str) -> None:
        """An operator says that it is well: what was seen of it until now is forgotten, and the fleet hears so at once."""
        self.circuits.forget(provider)
        word = self._words.get(provider)
        if word is not None:
            word.window.forget(self._totals().get(provider, Calls()))
            word.said, word.written = None, False
            await self.look()

    def _judge(self, provider: str, word: _Word, totals: Mapping[str, Calls], now: int) -> bool:
        """What is to be said of a provider; False if that was said already."""
        total = totals.get(provider, Calls())
        calls = word.window.take(now, total)
        before = word.said
        cut = is_cut_off(self.circuits.count(provider), self._sessions(), calls)
        state = judge(calls, cut, before.state if before is not None else ProviderState.UNKNOWN)
        changed = before is None or (before.state, before.circuit_open) != (state, cut) or not word.written
        due = now - word.said_at >= BEAT_MS * NS_PER_MS and state is not ProviderState.UNKNOWN
        if not changed and not due:
            return False
        p50, p95 = self.circuits.latency_ms(provider)
        word.said = ProviderReport(
            provider=provider,
            member=self._member_id(),
            region=self._region,
            state=state,
            at_ms=self._clock.wall() // NS_PER_MS,
            availability=availability(calls),
            circuit_open=cut,
            price=self._prices().get(provider),
            calls=calls.good + calls.bad,
            failures=calls.bad,
            latency_p50_ms=p50,
            latency_p95_ms=p95,
            beat=(before.beat if before is not None else 0) + 1,
        )
        word.said_at, word.written = now, False
        return True

    async def _write(self, word: _Word) -> None:
        said = word.said
        assert said is not None
        name = key(KIND, said.provider, said.member)
        await self._store.put(HEALTH, name, _ENCODE(said), ttl_ms=REPORT_TTL_MS)
        word.written = True

    def _totals(self) -> dict[str, Calls]:
        """Each provider's calls since the process began, of all modalities together."""
        found: dict[str, Calls] = {}
        for one in self._meters.read().counters:
            if one.name != COUNTER:
                continue
            labels = dict(one.labels)
            provider, kind = labels.get("provider", ""), counted(labels.get("outcome", ""))
            if provider in ("", "None"):
                continue
            sum_ = found.get(provider, Calls())
            found[provider] = Calls(sum_.good + kind.good * one.value, sum_.bad + kind.bad * one.value)
        return found


class ProviderBoard:
    """All workers' words, and the fleet's answer. What cannot be read, or is not its key's, is nobody's word."""

    def __init__(self, store: Store, clock: Clock, *, fresh_ms: int = FRESH_MS) -> None:
        self._store = store
        self._clock = clock
        self._fresh_ms = fresh_ms
        # Provider -> member -> word; bounded: PROVIDERS_MAX and MEMBERS_MAX.
        self._heard: dict[str, dict[str, Heard]] = {}
        self._revisions: dict[str, int] = {}  # bounded: with the words
        self._pruned_at = 0

    async def run(self) -> None:
        """Hear for as long as the process lives."""
        while True:
            try:
                async for entry in self._store.watch(HEALTH, PREFIX):
                    self.take(entry)
            except (RsppError, OSError) as error:
                log.warning("provider health could not be watched: %s", type(error).__name__)
            await asyncio.sleep(RETRY_MS / 1000)

    def take(self, entry: Entry) -> bool:
        """Hear one word; False for what says nothing, or is older than what was heard."""
        try:
            report = _DECODE(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if parts(entry.key) != (KIND, report.provider, report.member):
            return False
        if entry.revision <= self._revisions.get(entry.key, 0):
            return False
        self.prune()
        words = self._heard.get(report.provider, {})
        if (not words and len(self._heard) >= PROVIDERS_MAX) or (
            report.member not in words and len(words) >= MEMBERS_MAX
        ):
            return False
        self._heard.setdefault(report.provider, {})[report.member] = Heard(report, self._clock.now())
        self._revisions[entry.key] = entry.revision
        return True

    def fleet(self, now: int, region: str | None = None) -> dict[str, FleetHealth]:
        """Each provider, as the whole fleet sees it, or as one region does."""
        return {
            provider: merged(
                provider,
                [one for one in words.values() if region is None or one.report.region == region],
                now,
                self._fresh_ms,
            )
            for provider, words in sorted(self._heard.items())
        }

    def reports(self, now: int, provider: str) -> list[ProviderReport]:
        """What each worker says of one provider, as far as it is fresh."""
        words = self._heard.get(provider, {}).values()
        return [one.report for one in words if now - one.at <= self._fresh_ms * NS_PER_MS]

    def prune(self) -> None:
        """Let go of words that have expired in the store as well; looked for now and then only."""
        now = self._clock.now()
        if now - self._pruned_at < BEAT_MS * NS_PER_MS:
            return
        self._pruned_at = now
        for provider, words in list(self._heard.items()):
            for member, one in list(words.items()):
                if now - one.at > REPORT_TTL_MS * NS_PER_MS:
                    del words[member]
                    self._revisions.pop(key(KIND, provider, member), None)
            if not words:
                del self._heard[provider]


class Probes:
    """Who may try a provider that was unhealthy: one session of the whole fleet in ten seconds, by a claim in the store."""

    def __init__(self, store: Store, board: ProviderBoard, clock: Clock, member_id: str) -> None:
        self._store = store
        self._board = board
        self._clock = clock
        self._member_id = member_id
        self._ill: set[str] = set()  # bounded: PROVIDERS_MAX; unhealthy when last known
        self._tickets: dict[str, int] = {}  # bounded: likewise; until when one session here may try

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (RsppError, OSError) as error:
                log.info("no probe was claimed: %s", type(error).__name__)
            await asyncio.sleep(LOOK_MS / 1000)

    async def look(self) -> list[str]:
        """Claim what is to be tried; which providers a session of this process may try now."""
        now = self._clock.now()
        claimed = []
        fleet = self._board.fleet(now)
        # Of one that was unhealthy and that nobody has called since, the board says nothing any more.
        for provider in sorted({*fleet, *self._ill}):
            state = fleet[provider].state if provider in fleet else ProviderState.UNKNOWN
            if state is ProviderState.HEALTHY:
                self._ill.discard(provider)
                self._tickets.pop(provider, None)
            elif state is ProviderState.UNHEALTHY:
                if len(self._ill) < PROVIDERS_MAX:
                    self._ill.add(provider)
            elif provider in self._ill and self._tickets.get(provider, 0) <= now:
                name = f"{PROBE}/{encoded(provider)}"
                value = self._member_id.encode()
                if await self._store.put(HEALTH, name, value, expect=0, ttl_ms=PROBE_EVERY_MS) is not None:
                    self._tickets[provider] = now + PROBE_EVERY_MS * NS_PER_MS
                    claimed.append(provider)
        return claimed

    def take(self, provider: str) -> bool:
        """May this session try it? One may, once for each claim."""
        until = self._tickets.get(provider, 0)
        if until <= self._clock.now():
            return False
        self._tickets[provider] = 0
        return True


def probed(snapshot: Snapshot, graph: GraphDefinition, probes: Probes) -> Snapshot:
    """The view of a session that may try what nobody knows of any more; for all others it is as it was."""
    blocks = snapshot.overrides
    bindings = blocks.provider_bindings if blocks is not None else graph.providers
    served = {name for names in bindings.values() for name in names}
    unknown = ProviderState.UNKNOWN.value
    tried = [
        name for name in sorted(served) if snapshot.health.get(name, unknown) == unknown and probes.take(name)
    ]
    if not tried:
        return snapshot
    health = {**snapshot.health, **dict.fromkeys(tried, ProviderState.HEALTHY.value)}
    return msgspec.structs.replace(snapshot, health=health)
