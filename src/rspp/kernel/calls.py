"""One logical provider call: an identity, one or more attempts, exactly one outcome.

    waiting --(backoff over)--> invoked --(accepted)--> streaming --> ended
       ^                           |                       |
       +------ retry or switch ----+-----------------------+        cancelling --(ack or grace)--> ended

What to do after a failed attempt is a pure function of the failure, the budget left, the candidates frozen at the
turn's start and the circuits. Chunks of another attempt, duplicates and whatever comes after the end are refused. A
provider that accepts and then stays silent has failed. Knows no provider and no graph.
"""

from __future__ import annotations

import re
from collections.abc import Container
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Audio, Event, Scope, Text
from rspp.contract.words import AdaptiveAction, Codec, OutcomeClass
from rspp.spec.graph import CallPolicy

CODE_OF: Final = {OutcomeClass.TIMEOUT: "provider_timeout", OutcomeClass.OVERLOAD: "provider_overload"}
WORD: Final = re.compile(r"[a-z]{1,32}(_[a-z0-9]{1,16}){0,4}|")


class CallState(StrEnum):
    WAITING = "waiting"
    INVOKED = "invoked"
    STREAMING = "streaming"
    CANCELLING = "cancelling"
    ENDED = "ended"


class Call(msgspec.Struct):
    """An invocation in progress."""

    id: str
    node_id: str
    modality: str
    scope: Scope
    candidates: tuple[str, ...]
    generation: int
    started_at: int
    timeout_ms: int
    fairness_key: str = ""  # whose place it takes
    event: Event | None = None
    speculative: bool = False
    state: CallState = CallState.WAITING
    candidate: int = 0
    attempt: int = 0  # of all attempts, rising over providers
    attempts_here: int = 0  # of the present provider
    next_sequence: int = 0
    produced: int = 0
    attempt_at: int = 0
    progress_at: int = 0
    throttled: bool = False
    soft_left: int = 0  # chunks that a soft cancel still lets through
    outcome: OutcomeClass | None = None
    reason: str = ""
    decision: str = "none"
    retryable: bool = False
    cancel_sent_at: int | None = None
    cancel_acked_at: int | None = None
    late_dropped: int = 0
    ended_at: int = 0
    final_attempt_ms: int = 0
    forgiven: int = 0  # attempts from before the last time it worked: they say nothing of now
    owed: int = 0  # finals that were asked of it since it last gave anything
    lasting: bool = False  # for the whole session: fed all along, and connected again when it drops
    probe: bool = False  # it is the one probe of a half-open circuit
    tokens: int = 0  # counted while they came; the provider's own count corrects it at the end
    text: Text | None = None  # the last revision of the text segment in hand

    @property
    def provider(self) -> str:
        return self.candidates[self.candidate]

    @property
    def live(self) -> bool:
        return self.state is not CallState.CANCELLING and self.state is not CallState.ENDED

    def begin_attempt(self, now: int) -> None:
        self.attempt += 1
        self.attempts_here += 1
        self.next_sequence = self.owed = 0
        self.text = None
        self.attempt_at = self.progress_at = now
        self.state = CallState.INVOKED

    def forgive(self, now: int, worked_ms: int) -> None:
        """A stream that worked for a while and dropped is at its first failure again."""
        if self.state is CallState.STREAMING and now - self.attempt_at >= worked_ms * NS_PER_MS:
            self.forgiven, self.attempts_here = self.attempt - 1, 1

    def take_chunk(self, now: int, attempt: int, sequence: int) -> str | None:
        """Accept a chunk, or say why it is refused."""
        if not self.live:
            self.late_dropped += 1
            return "late_after_end" if self.state is CallState.ENDED else "late_after_cancel"
        if attempt != self.attempt:
            self.late_dropped += 1
            return "other_attempt"
        if sequence < self.next_sequence:
            return "duplicate_chunk"
        self.next_sequence = sequence + 1
        self.produced += 1
        self.owed = 0
        self.progress_at = now
        self.state = CallState.STREAMING
        return None

    def take_text(self, text: Text) -> str | None:
        """Accept a revision of recognised text, or the code by which it is refused: text only moves forward."""
        last = self.text
        if last is not None and (
            text.segment < last.segment or (text.segment == last.segment and last.final)
        ):
            if not text.final:
                return "text_after_final"
            same = text.segment == last.segment and text.text != last.text
            return "text_final_changed" if same else "text_final_repeated"
        if last is not None and text.segment == last.segment and text.revision <= last.revision:
            return "text_reordered"
        self.text = text
        return None

    def end(self, now: int, outcome: OutcomeClass, reason: str) -> None:
        self.state = CallState.ENDED
        self.outcome, self.reason = outcome, reason
        self.ended_at = now
        self.final_attempt_ms = (now - self.attempt_at) // NS_PER_MS if self.attempt else 0


class Failure(msgspec.Struct, frozen=True, gc=False):
    """How an attempt failed."""

    outcome: OutcomeClass
    reason: str
    retryable: bool = False
    circuit: bool = False
    retry_after_ms: int | None = None

    @property
    def code(self) -> str:
        """The stable code of what went wrong; the five error classes have theirs."""
        return CODE_OF.get(self.outcome, self.outcome.value)


def scrubbed(reason: str) -> str:
    """A reason is a word of the adapter's table; a sentence of the provider's could hold a payload or a secret."""
    return reason if WORD.fullmatch(reason) else "reason_withheld"


class Next(msgspec.Struct, frozen=True, gc=False):
    """What follows a failed attempt: retry, provider_switch, or nothing more."""

    decision: str
    wait_ms: int = 0
    candidate: int = 0
    why: str = ""


# Speech synthesis gives seconds at a time; a longer chunk is a broken count, and would hold the line for ever.
CHUNK_S_MAX: Final = 60


def malformed(payload: object) -> str | None:
    """How a provider broke its word with a chunk, or None: what passes can be paced, cut and counted."""
    if not isinstance(payload, Audio):
        return None
    if not 8_000 <= payload.rate <= 48_000 or not 1 <= payload.channels <= 2:
        return "audio_format_unsupported"
    if not 0 <= payload.samples <= payload.rate * CHUNK_S_MAX or payload.sample_index < 0:
        return "audio_count_broken"
    counted = payload.codec is Codec.PCM16 and payload.data
    if counted and len(payload.data) != payload.samples * payload.channels * 2:
        return "audio_count_broken"
    return None


def after_failure(
    call: Call,
    failure: Failure,
    budget_left_ms: int | None,
    policy: CallPolicy,
    allowed: Container[AdaptiveAction],
    open_circuits: Container[str],
) -> Next:
    """Retry here, switch to the next candidate, or give up; a wait that outlasts the budget is not begun."""
    if call.produced and not call.lasting:
        # What was produced may have been spoken already; saying it again is worse than stopping. A stream that
        # lasts goes on with what comes next, and repeats nothing.
        return Next("none", why="output_already_released")
    if call.attempt - call.forgiven >= policy.attempts_total_max:
        return Next("none", why="attempts_exhausted")
    wait = backoff_ms(failure, call.attempts_here, policy)
    can_retry = failure.retryable and AdaptiveAction.RETRY in allowed and call.provider not in open_circuits
    # Asked to wait longer than we ever would: come back too early and it fails again.
    can_retry = can_retry and (failure.retry_after_ms or 0) <= policy.backoff_ms_max
    affordable = budget_left_ms is None or wait < budget_left_ms
    if can_retry and affordable and call.attempts_here < policy.attempts_per_provider_max:
        return Next("retry", wait_ms=wait, candidate=call.candidate)
    if AdaptiveAction.PROVIDER_SWITCH not in allowed and AdaptiveAction.FALLBACK not in allowed:
        return Next("none", why="switch_not_allowed")
    if budget_left_ms is not None and budget_left_ms < policy.fallback_reserve_ms:
        return Next("none", why="budget_too_small")
    count = min(len(call.candidates), policy.candidates_max)
    # A session outlives its providers' bad hours: who failed it long ago is tried again.
    earlier = range(call.candidate) if call.lasting else ()
    for index in (*range(call.candidate + 1, count), *earlier):
        if call.candidates[index] not in open_circuits:
            return Next("provider_switch", candidate=index)
    return Next("none", why="candidates_exhausted")


def backoff_ms(failure: Failure, attempts: int, policy: CallPolicy) -> int:
    """What the provider asked for, else doubling from the base; an infrastructure failure is retried at once."""
    if failure.retry_after_ms is not None:
        return max(0, min(failure.retry_after_ms, policy.backoff_ms_max))
    if failure.outcome is not OutcomeClass.OVERLOAD:
        return 0 if attempts < 2 else min(policy.backoff_ms_max, policy.backoff_ms)
    return min(policy.backoff_ms_max, policy.backoff_ms << (attempts - 1))


class Circuit(msgspec.Struct):
    failures: tuple[int, ...] = ()
    open_until: int = 0
    probing: bool = False


class Circuits:
    """This session's view of which providers are failing; the fleet's view comes with the snapshot."""

    __slots__ = ("_book", "_policy")

    def __init__(self, policy: CallPolicy) -> None:
        self._policy = policy
        self._book: dict[str, Circuit] = {}  # bounded: by the providers of the graph

    def failed(self, now: int, provider: str) -> str | None:
        """Count a failure; returns `opened` when that opens the circuit."""
        circuit = self._book.setdefault(provider, Circuit())
        since = now - self._policy.circuit_window_ms * NS_PER_MS
        circuit.failures = (*(at for at in circuit.failures if at > since), now)[
            -self._policy.circuit_failures :
        ]
        if circuit.probing or len(circuit.failures) >= self._policy.circuit_failures:
            circuit.open_until = now + self._policy.circuit_cooldown_ms * NS_PER_MS
            circuit.probing = False
            circuit.failures = ()
            return "opened"
        return None

    def succeeded(self, provider: str) -> str | None:
        """A success closes a circuit that was being probed."""
        circuit = self._book.get(provider)
        if circuit is None or (circuit.open_until and not circuit.probing):
            return None  # begun before the circuit opened: it says nothing of now
        probing = circuit.probing
        circuit.probing, circuit.open_until, circuit.failures = False, 0, ()
        return "closed" if probing else None

    def probe(self, now: int, provider: str) -> bool:
        """Is this attempt the one probe of a circuit whose cooldown is over?"""
        circuit = self._book.get(provider)
        if circuit is None or not circuit.open_until or circuit.open_until > now or circuit.probing:
            return False
        circuit.probing = True
        return True

    def abandoned(self, provider: str) -> None:
        """A probe has ended without an answer: the next attempt is the probe."""
        circuit = self._book.get(provider)
        if circuit is not None:
            circuit.probing = False

    def reset(self, provider: str) -> bool:
        """Forget every failure of it; was it cut off? A probe that is on its way is a call like any other then."""
        circuit = self._book.pop(provider, None)
        return circuit is not None and circuit.open_until > 0

    def open_at(self, now: int) -> frozenset[str]:
        """The providers not to be called now."""
        return frozenset(
            name
            for name, circuit in self._book.items()
            if circuit.open_until > now or (circuit.open_until and circuit.probing)
        )
