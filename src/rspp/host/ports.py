"""The ports: everything the host needs of the world, one Protocol each. An adapter imports the contract and its one port.

Who calls what, and when:

    a Transport accepts a caller, asks the Door for a session, and gets a Seat. What the caller sends it hands to
        `seat.ingest`, as inputs; what the session says comes to the Line it gave, by plain calls that never wait.
    a Provider (or a ReactiveProvider) is asked for a Call. What it says goes to the Answer it was given.
    an AsyncNode is a provider of one node type.
    a Recorder takes evidence and, if it likes, every input. A Store keeps what outlives the process.

Nothing here may block the loop. All of it is called on the loop's own thread. What a peer does wrong is told as
`ProviderError` or as an input; nothing else may be raised at the host, and what is, costs that call or that session
and no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar, runtime_checkable

import msgspec

from rspp.contract.errors import PeerFault
from rspp.contract.event import Audio, Event, Note, Sample, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.surface import Row
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.meters import Meters
from rspp.kernel.effects import Effect, Invoke, Message
from rspp.kernel.hosting import Output
from rspp.kernel.inputs import Input
from rspp.kernel.snapshot import Durable, OpenRequest, Snapshot
from rspp.spec.graph import GraphDefinition

__all__ = [
    "EVIDENCE_LATER",
    "Answer",
    "AsyncNode",
    "Bootstrap",
    "Call",
    "CallRequest",
    "Checked",
    "Clock",
    "Door",
    "EndOfFeed",
    "Grant",
    "HoldsSessions",
    "Inference",
    "Line",
    "LiveCall",
    "Message",
    "Provider",
    "ProviderError",
    "ProviderInfo",
    "ReactiveProvider",
    "Recorder",
    "Refused",
    "Seat",
    "Stepped",
    "Store",
    "Tell",
    "TellsSession",
    "Transport",
    "TransportInfo",
    "WatchesNodes",
]

CallRequest = Invoke  # what the kernel asks of a provider is what the provider is asked
Chunk = Audio | Text | Sample | Note

RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResultT_co = TypeVar("ResultT_co", covariant=True)


# ---- time ---------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Nanoseconds. `now` never goes back and has no meaning of its own; `wall` is the time of day, since 1970."""

    def now(self) -> int: ...
    def wall(self) -> int: ...


# ---- transports ---------------------------------------------------------------------------------------------------


class TransportInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport is and can do: at least one way in or out."""

    kind: str  # websocket, loopback, livekit, telephony
    ingress_audio: bool = True
    ingress_control: bool = True
    egress_audio: bool = True
    reconnect: bool = False
    playback_reports: bool = True
    codecs: tuple[str, ...] = ("pcm16",)
    rates: tuple[int, ...] = (16_000,)


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a transport knows of a caller who wants a session (contract §13)."""

    schema_version: str
    transport_kind: str
    tenant_id: str
    requested_at_ms: int
    session_id: str | None = None  # None lets the host name it
    pipeline_version: str | None = None  # None takes what the host serves
    turn_id: str | None = None
    epoch: int | None = None
    lease_token_ref: str | None = None
    route_ref: str | None = None
    playback_reports: bool = True
    metadata: dict[str, str] = {}
    token: str | None = None  # what the caller shows of its right to come in
    resume: str | None = None  # the secret that gives this session's line away: shown by a caller who is back
    back: bool = False  # the caller had this session, here or at another process

    def __repr__(self) -> str:
        """Without what opens doors."""
        return f"Bootstrap(tenant={self.tenant_id!r}, session={self.session_id!r}, back={self.back})"


class Line(Protocol):
    """One caller's line, as a session speaks to it. No method waits, none raises; what cannot be sent is the line's loss to
    count and, past its own bound, its reason to close. After `close` everything is ignored.
    """

    def send(self, event: Event) -> None: ...
    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...


class Refused(PeerFault):
    """No session for this caller: a stable code, a sentence, when to try again, if ever, and where, if elsewhere."""

    def __init__(
        self, code: str, message: str, retry_after_ms: int | None = None, endpoint: str | None = None
    ) -> None:
        super().__init__(code, message)
        self.retry_after_ms = retry_after_ms
        self.endpoint = endpoint


class Seat(Protocol):
    """A session, as its transport sees it."""

    @property
    def session_id(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def graph(self) -> GraphDefinition: ...
    @property
    def ended(self) -> bool: ...
    def ingest(self, received: Input) -> bool:
        """Hand in what the caller did; False if the session's inbox is full or the session over, and it was counted."""
        ...

    def attach(self, line: Line) -> None:
        """The caller is back on another line; the former one hears nothing any more."""
        ...


class Door(Protocol):
    """Where transports ask for sessions."""

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        """This caller's session: a new one, in which nothing has happened yet, or with `back` the one that it had.

        Raises `Refused`. The line is the session's from now on; then tell it `ConnectionChanged(CONNECTED)`.
        """
        ...

    def find(self, session_id: str) -> Seat | None:
        """A session that still lives, for a caller who comes back."""
        ...


class Transport(Protocol):
    """Brings callers. `start` returns when callers are served; `stop` takes no new ones and closes what is left."""

    @property
    def info(self) -> TransportInfo: ...
    async def start(self, door: Door) -> None: ...
    async def stop(self, reason: str) -> None: ...


# ---- providers and async nodes ------------------------------------------------------------------------------------


class ProviderError(PeerFault):
    """A call failed. The host makes it the outcome that the kernel decides about: retry, switch, fall back or end."""

    def __init__(
        self,
        outcome: OutcomeClass,
        reason: str,
        message: str = "",
        *,
        retryable: bool = False,
        circuit: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(reason, message or reason)
        self.outcome = outcome
        self.reason = reason
        self.retryable = retryable
        self.circuit = circuit
        self.retry_after_ms = retry_after_ms


class ProviderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is. `rates` are the sample rates it takes (stt, vad) or gives (tts); the host converts nothing."""

    name: str
    modality: str  # stt, llm, tts, vad, end_of_turn, external
    version: str
    streaming: bool = True
    cancellable: bool = True  # False: its work goes on after a cancel, and its result is dropped
    rates: tuple[int, ...] = ()
    model: str | None = None


class EndOfFeed(msgspec.Struct, frozen=True, gc=False):
    """No more input for now. `last`: for ever; else finalise: a recogniser answers with a final, an empty one if need be."""

    last: bool


class LiveCall(Protocol):
    """One attempt of one call, as a coroutine provider sees it.

    A cancel with mode hard cancels the coroutine. One with mode soft sets `stopping` and leaves the grace for the chunk in
    flight; then it is cancelled. A coroutine that does not end then is abandoned, and its provider blamed.
    """

    @property
    def request(self) -> CallRequest: ...
    @property
    def stopping(self) -> bool: ...
    def feed(self) -> AsyncIterator[Event | EndOfFeed]:
        """What comes in, in order, to and including the last `EndOfFeed`. For an EVENT-lifetime call everything is in
        `request.event`, and this has only its end.
        """
        ...

    def accepted(self) -> None:
        """The provider has taken the call: its timeout runs to the first chunk from now on."""
        ...

    async def produce(self, payload: Chunk, port: str | None = None) -> None:
        """Give a chunk; waits while the edge below is full."""
        ...

    def score(self, probability: float) -> None:
        """Of a vad: that this frame was speech. Of an end_of_turn: that the caller has finished."""
        ...

    def used(self, tokens: int) -> None:
        """Count tokens; told with the finish."""
        ...


class Provider(Protocol):
    """A coroutine provider: `run` returns when the call is done and raises `ProviderError` when it failed.

    `open` is awaited once before the first call (load a model, check a key) and `close` once after the last.
    """

    @property
    def info(self) -> ProviderInfo: ...
    async def open(self) -> None: ...
    async def run(self, call: LiveCall) -> None: ...
    async def close(self) -> None: ...


class AsyncNode(Protocol):
    """A node that waits: a provider of one node type, made anew for each session's node from its configuration.

    Session lifetime: one `run` fed all along. Turn and event lifetimes: one `run` each. `State` that must live longer is
    the spec's to declare.
    """

    async def run(self, call: LiveCall) -> None: ...


class Answer(Protocol):
    """Where a reactive provider puts what it has to say. Each call ends with exactly one of finish, fail, stopped;
    what comes after it is counted and dropped.
    """

    @property
    def throttled(self) -> bool: ...
    def accepted(self) -> None: ...
    def produce(self, payload: Chunk, port: str | None = None) -> None: ...
    def score(self, probability: float) -> None: ...
    def finish(self, tokens: int = 0) -> None: ...
    def fail(self, error: ProviderError) -> None: ...
    def stopped(self) -> None:
        """The cancel is acknowledged."""
        ...


class Call(Protocol):
    """One attempt of one call, as the host drives it. No method waits."""

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...
    def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...
    def kill(self) -> None:
        """The grace is over: let go of everything now."""
        ...


@runtime_checkable
class ReactiveProvider(Protocol):
    """A provider without a task a call: it is called, and calls back. For what runs fifty times a second."""

    @property
    def info(self) -> ProviderInfo: ...
    async def open(self) -> None: ...
    def begin(self, request: CallRequest, answer: Answer) -> Call: ...
    async def close(self) -> None: ...


@runtime_checkable
class HoldsSessions(Protocol):
    """A provider that keeps something for each session; it is told when one is over, however that came about."""

    def release(self, session_id: str) -> None: ...


@runtime_checkable
class Checked(Protocol):
    """A provider that can be asked, cheaply and without a call, whether what stands behind it answers."""

    async def check(self) -> None:
        """Raises `ProviderError` if it does not."""
        ...


@runtime_checkable
class CountsItself(Protocol):
    """A provider with figures of its own, beside those that the host takes of every one. They are shown with the host's as
    far as the table of names declares them; what only its vendor has is named `vendor_...`.
    """

    @property
    def meters(self) -> Meters: ...


@runtime_checkable
class TellsRows(Protocol):
    """A provider that has a surface of its own: nodes in processes of their own."""

    def rows(self) -> Sequence[Row]: ...


AnyProvider = Provider | ReactiveProvider
# Makes a provider from its settings (`provider_settings` of the spec, secrets still by reference).
ProviderFactory = Callable[[str, Mapping[str, object]], AnyProvider]


# ---- model inference shared by sessions -----------------------------------------------------------------------------


class Inference(Protocol[RequestT_contra, ResultT_co]):
    """A model that takes many sessions' requests in one step, on a worker thread. As many results as requests, in order."""

    def infer(self, batch: Sequence[RequestT_contra]) -> Sequence[ResultT_co]: ...


# ---- evidence and state ---------------------------------------------------------------------------------------------


# What `Recorder.evidence` answers when it will say `EvidenceStored` to the session itself, as soon as it knows.
EVIDENCE_LATER: Final = "later"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A session that a control plane has given to this process, with all that it decided about it.

    `expires_at` is of this process's own clock. `durable` is what the last owner left.
    """

    session_id: str
    tenant_id: str
    graph_ref: str
    epoch: int
    lease_token: str
    expires_at: int
    snapshot: Snapshot | None = None
    durable: Durable | None = None


# Hands an input to a recorder's session, on the loop's thread; False if there is nobody any more.
Tell = Callable[[Input], bool]


class Recorder(Protocol):
    """One session's record: each input before it is handed in, then all that the kernel wants done about it. Nothing here
    waits for a disk.
    """

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...
    def took(self, at: int, received: Input) -> None: ...
    def did(self, at: int, effects: Sequence[Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        """Append; None when it was taken, `EVIDENCE_LATER`, or why not."""
        ...

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


@runtime_checkable
class TellsSession(Protocol):
    """A recorder that has something to say to its session: that it is pressed, or has stored evidence. Told before `opened`."""

    def attach(self, tell: Tell) -> None: ...


class Stepped(msgspec.Struct, frozen=True, gc=False):
    """What one hook of a sync node came to: its outputs and what it made durable, or the name of what it raised."""

    node_id: str
    hook: str
    outputs: tuple[Output, ...] = ()
    saves: tuple[tuple[str, object], ...] = ()
    error: str | None = None


@runtime_checkable
class WatchesNodes(Protocol):
    """A recorder that wants to know what sync nodes did: a step whose input is not kept cannot be done again."""

    def stepped(self, step: Stepped) -> None: ...


class Entry(msgspec.Struct, frozen=True):
    """One key's value at one revision."""

    key: str
    value: bytes
    revision: int


class Store(Protocol):
    """Keys with revisions, logs with sequence numbers, blobs. The one vocabulary of everything durable.

    `put` with `expect` None is unconditional, 0 only creates, n only replaces revision n; a lost race returns None. A
    revision is larger than every earlier one of its key, deleted or not. `watch` gives what is there first and then the
    changes, with rising revisions for each key; values in between may be skipped, and a deletion is not told.

    `trim` forgets a log's records up to and including `through`; a number that was given is never given again. A blob that
    is put again is replaced whole: who reads gets the old one or the new. `rspp.host.stored` has the bounds of every store.
    """

    async def get(self, bucket: str, key: str) -> Entry | None: ...
    async def put(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        ttl_ms: int | None = None,
    ) -> int | None: ...
    async def delete(self, bucket: str, key: str) -> None: ...
    async def keys(self, bucket: str, prefix: str = "") -> list[str]: ...
    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]: ...
    async def append(self, log: str, record: bytes) -> int: ...
    def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]: ...
    async def trim(self, log: str, through: int) -> None: ...
    async def put_blob(self, name: str, data: bytes) -> None: ...
    async def get_blob(self, name: str) -> bytes | None: ...
    async def delete_blob(self, name: str) -> None: ...
    async def blobs(self, prefix: str = "") -> list[str]: ...
    async def close(self) -> None: ...


# A wait that nobody may exceed, where an adapter has no better number of its own.
OPEN_MS_MAX: Final = 60_000
