"""A recorded caller calls again: a real host, real providers, real time. What comes of it is recorded anew, and told.

Providers of the modalities that are live are called; all others say what was recorded. The caller does at its offsets what it
did, and stays on the line until it has been answered. Tools are not called again
unless that is asked for: what they do in the world cannot be undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.words import CORE_SCHEMA_VERSION, ConnectionState
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap, Clock, Refused
from rspp.host.providers import Readiness
from rspp.host.registry import ProviderKind, Registry
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition, Role
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.recording import Recording
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.replay.adaptive import at_level
from rspp.timeline.replay.exact import ExactRun, reach
from rspp.timeline.replay.listener import Listener
from rspp.timeline.replay.modes import Decisions, Mode, Outputs
from rspp.timeline.replay.recorded_calls import by_node, calls_of, lasts, modality_of, places
from rspp.timeline.replay.recorded_provider import NS_PER_S, RecordedProvider
from rspp.timeline.session import SessionRecorder
from rspp.timeline.story import Story

LIVE_DEFAULT: Final = ("llm", "tts")
LISTENING: Final = frozenset({"stt", "vad", "end_of_turn"})
# How long the caller waits for an answer that takes longer than the recorded one did.
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.02
_CALLER: Final = (
    i.AudioReceived,
    i.TextReceived,
    i.ControlReceived,
    i.UnknownReceived,
    i.MalformedReceived,
    i.ConnectionChanged,
    i.CreditGranted,
    i.FactChanged,
    i.CloseRequested,
)


class Lived(msgspec.Struct, frozen=True, kw_only=True):
    """What a live replay came to."""

    story: Story
    recording: Recording
    data: bytes
    called: dict[str, int]  # modality -> attempts of its live provider
    played: tuple[str, ...]
    readiness: list[Readiness]
    end_reason: str


def live_set(recording: Recording, asked: Iterable[str] | None) -> frozenset[str]:
    """Which modalities are called again; raises MisuseError for those that would have to hear what is not here."""
    live = frozenset(asked if asked is not None else LIVE_DEFAULT)
    deaf = sorted(live & LISTENING)
    spoken = {step for step, (_, one) in recording.inputs.items() if isinstance(one, i.AudioReceived)}
    # A place that was masked is a pause to whoever listens; a caller of whom nothing else is left says nothing.
    lost = spoken & recording.without_sound or spoken <= recording.masked_sound
    if deaf and spoken and lost:
        raise MisuseError(
            "replay_sound_missing",
            f"{', '.join(deaf)} would have to hear the caller, whose sound was not kept, or is masked; record at "
            "L2, under a policy that allows it",
        )
    return live


class LiveReplay:
    """One recorded session, had again."""

    def __init__(
        self,
        recording: Recording,
        graph: GraphDefinition,
        registry: Registry,
        mode: Mode,
        clock: Clock,
        *,
        live: Iterable[str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        assert mode.outputs is Outputs.LIVE
        self._mode = mode
        self._recording = recording
        self._live = live_set(recording, live)
        self._reach = reach(recording)
        if not self._reach.through:
            raise MisuseError("replay_inputs_missing", f"no input can be given again: {self._reach.why}")
        self._clock = clock
        self._patience_s = patience_s
        self._began = 0.0
        self._line = Listener(clock, reports=recording.head.request.reports_playback)
        self._append = MemoryAppend()
        self._played: dict[str, RecordedProvider] = {}
        self._graph = at_level(graph, recording)
        self._registry = self._with_recorded(registry)

    # ---- who serves what -------------------------------------------------------------------------------------------

    def _with_recorded(self, registry: Registry) -> Registry:
        """The registry, with what was recorded in the place of every provider that is not live."""
        recording, graph, through = self._recording, self._graph, self._reach.through
        found = places(recording, graph, through)
        said = {
            found[node]: calls
            for node, calls in by_node(calls_of(recording, through).values()).items()
            if node in found
        }
        lasting = frozenset(node.id for node in graph.nodes if lasts(node))
        table, defaults, async_nodes = (
            dict(registry.providers),
            dict(registry.defaults),
            dict(registry.async_nodes),
        )
        settings = dict(graph.provider_settings)
        for node in graph.nodes:
            modality = modality_of(node)
            if node.role is not Role.CALL or modality in self._live or node.id in self._live:
                continue
            async_nodes.pop(node.type, None)
            for name in graph.providers.get(modality, (modality,)):
                defaults.pop(name, None)
                settings.pop(name, None)
                provider = RecordedProvider(name, modality, recording, said, lasting, lambda: self._began)
                self._played[name] = provider
                table[name] = ProviderKind(modality, partial(_this, provider), "what was recorded")
        self._graph = msgspec.structs.replace(graph, provider_settings=settings)
        return msgspec.structs.replace(registry, providers=table, defaults=defaults, async_nodes=async_nodes)

    # ---- the call --------------------------------------------------------------------------------------------------

    async def run(self) -> Lived:
        """Have the call; raises what a host raises for a graph that it cannot serve."""
        recording, request = self._recording, self._recording.head.request
        redactor = SessionRedactor(RedactionPolicy(), recording.tenant_id)
        recorder = SessionRecorder(
            self._append, redactor, wall_ms=lambda: self._clock.wall() // 1_000_000, origin="replay"
        )
        flags = request.flags if self._mode.decisions is Decisions.REPLAY else None
        host = Host(
            self._registry,
            HostSettings(debug=request.debug, metrics=request.metrics, flags=flags),
            clock=self._clock,
            recorders=lambda _: recorder,
            snapshots=self._snapshot if request.snapshot is not None else None,
        )
        host.publish(self._graph)
        readiness = await host.start()
        try:
            self._began = asyncio.get_running_loop().time()
            bootstrap = Bootstrap(
                schema_version=CORE_SCHEMA_VERSION,
                transport_kind="replay",
                tenant_id=recording.tenant_id,
                requested_at_ms=self._clock.wall() // 1_000_000,
                session_id=recording.session_id,
                epoch=request.epoch,
                playback_reports=request.reports_playback,
            )
            try:
                session = host.open(bootstrap, self._line)
            except Refused as error:
                raise MisuseError(error.code, f"the host takes no session: {error.message}") from error
            listening = asyncio.create_task(self._line.listen(session))
            try:
                await self._call(session)
            finally:
                listening.cancel()
            await host.close_session(session.session_id, "replay_over")
        finally:
            await host.stop()
        return self._lived(session, readiness)

    def _snapshot(self, now: int, *_: object) -> Snapshot:
        """The control plane's view that the recorded session began with, as if it were taken now."""
        snapshot = self._recording.head.request.snapshot
        assert snapshot is not None
        return msgspec.structs.replace(snapshot, taken_at=now)

    async def _call(self, session: LiveSession) -> None:
        """The caller does what it did, at its offsets."""
        loop = asyncio.get_running_loop()
        began_at = self._recording.began_at
        for at, received in self._recording.input_list(self._reach.through):
            if not isinstance(received, _CALLER):
                continue
            wait = self._began + (at - began_at) / NS_PER_S - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            if session.ended:
                return
            if _leaves(received):
                await self._answered(session)
            session.ingest(received)
        await self._answered(session)

    async def _answered(self, session: LiveSession) -> None:
        """Wait until nothing is owed to the caller, or its patience is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while loop.time() < until and not session.ended:
            kernel = session.kernel
            if kernel.turn() is None and not (kernel.speaking() or self._line.sounding or session.waiting):
                return
            await asyncio.sleep(LOOK_S)

    def _lived(self, session: LiveSession, readiness: list[Readiness]) -> Lived:
        recorded = self._append.recording()
        run = ExactRun(
            recorded,
            self._registry.nodes,
            Mode(outputs=Outputs.LIVE, decisions=self._mode.decisions),
            frames=True,
        )
        while run.step() is not None:
            pass
        if run.comparison.first is not None:
            raise MisuseError(
                "replay_diverged", f"the live replay's own recording: {run.comparison.first.line()}"
            )
        calls = calls_of(recorded, run.last).values()
        called: dict[str, int] = dict.fromkeys(sorted(self._live), 0)
        for call in calls:
            if call.modality in called:
                called[call.modality] += len(call.attempts)
        return Lived(
            story=run.story("live"),
            recording=recorded,
            data=bytes(self._append.data),
            called=called,
            played=tuple(sorted(self._played)),
            readiness=readiness,
            end_reason=session.end_reason or "",
        )


def _this(provider: RecordedProvider, _name: str, _settings: Mapping[str, object]) -> RecordedProvider:
    return provider


def _leaves(received: i.Input) -> bool:
    left = isinstance(received, i.ConnectionChanged) and received.state is not ConnectionState.CONNECTED
    return left or isinstance(received, i.CloseRequested)
