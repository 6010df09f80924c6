"""Work sessions as the control plane keeps them: how far each has come, what proves it, and the signal that lets one go on.

    bucket work            <session>   what its manifest told last; written by whoever works, never by the control plane
    bucket work_signals    <session>   an operator's signal, bound to the step and to the line at which the session waits

Both hold one value a session. A signal is taken once, by compare-and-set: what was given for a step is nothing for the next
one, nor for another session of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from rspp.contract.errors import PeerFault
from rspp.control.names import key
from rspp.host.ports import Entry, Store

WORK: Final = "work"
SIGNALS: Final = "work_signals"
# A signal that nobody took by then has to be given anew.
SIGNAL_TTL_MS: Final = 7 * 24 * 3_600_000
# So many sessions are kept: who writes one more lets the oldest go. So many are looked at, whoever wrote them.
SESSIONS_MAX: Final = 200
RACES_MAX: Final = 8
# What a session is at rest; the rest of the words is its own.
WAITING: Final = "waiting"
RUNNING: Final = "running"
DONE: Final = "done"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever wrote a newer version may say more: that is not read."""


class Run(_Part, frozen=True, kw_only=True):
    """A role, an engine or a validator, and what became of it: ran, skipped or failed."""

    name: str
    status: str
    outputs: tuple[str, ...] = ()
    notes: str = ""


class Output(_Part, frozen=True, kw_only=True):
    """`ref` is `PATH#sha256=HEX`, below the manifest's folder."""

    name: str
    present: bool = False
    source: str = ""
    ref: str = ""


class Missing(_Part, frozen=True, kw_only=True):
    """One thing without which the step cannot pass, and what to do about it."""

    code: str
    what: str
    fix: str = ""


class Requirement(_Part, frozen=True, kw_only=True):
    """What must be met before the next step; `ref` shows that it was, and is empty until then."""

    what: str
    ref: str = ""


class Result(_Part, frozen=True, kw_only=True):
    status: str = "NONE"
    code: str = ""
    reasons: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    report: str = ""
    pack: str = ""


class Step(_Part, frozen=True, kw_only=True):
    """A step as it was told last: RUNNING, or how it ended."""

    step: str
    goal: str
    status: str
    at_ms: int


class Work(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """One work session, as its manifest told it at this line of its trace. Secrets and whole paths are not in it."""

    id: str
    state: str
    kind: str = ""
    step: str = ""
    goal: str = ""
    reason: str = ""
    author: str = ""
    folder: str = ""
    since_ms: int = 0
    updated_at_ms: int = 0
    line: int = 0
    trace: str = ""  # the digest of that line
    begun: str = ""  # the digest of the trace's first line: another one's is another session of this name
    begun_at_ms: int = 0
    steps: int = 0
    steps_done: int = 0
    past: tuple[Step, ...] = ()
    routing: dict[str, Any] = {}
    roles: tuple[Run, ...] = ()
    engines: tuple[Run, ...] = ()
    outputs: tuple[Output, ...] = ()
    missing: tuple[Missing, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    resume_allowed: bool = False
    next_file: str = ""
    next_goal: str = ""
    result: Result = Result()
    cut: tuple[str, ...] = ()  # what was too long to be told whole

    @property
    def unmet(self) -> tuple[str, ...]:
        return tuple(one.what for one in self.requirements if not one.ref)


class Signal(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """What an operator gave. `line` is where the session waited then; `taken_at_ms` 0: nobody took it yet."""

    session: str
    step: str
    line: int
    by: str
    at_ms: int
    reason: str = ""
    taken_at_ms: int = 0


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_WORK: Final = msgspec.json.Decoder(Work).decode
_SIGNAL: Final = msgspec.json.Decoder(Signal).decode


def work_of(entry: Entry | None) -> Work | None:
    """The session of this entry; None for what is none, or lies under another one's name."""
    if entry is None:
        return None
    try:
        work = _WORK(entry.value)
        return work if key(work.id) == entry.key else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Refusal(msgspec.Struct, frozen=True):
    """Why not, by code and as a sentence."""

    code: str
    message: str


def refusal(work: Work, step: str) -> Refusal | None:
    """Why no signal can be given to this session for that step; None: it waits for one."""
    at = work.step or "its beginning"
    if work.step != step:
        return Refusal("work_step_stale", f"{work.id} is at {at}, not at {step}: look again")
    if work.unmet:
        first = "; ".join(work.unmet)
        return Refusal("work_requirements_unmet", f"{work.id} cannot go on before this is met: {first}")
    if work.state == WAITING:
        return None
    if work.state == RUNNING:
        said = f"{work.id} runs step {at} and waits for nobody"
    elif work.state == DONE:
        said = f"{work.id} is done: nothing is left that could be begun"
    else:
        said = f"{work.id} is {work.state} at {at}, and does not wait for a signal"
    return Refusal("work_not_waiting", said)


class WorkSessions:
    """Work sessions of one store. Their names are chosen by whoever works."""

    def __init__(self, store: Store, wall_ms: Callable[[], int]) -> None:
        self._store, self._wall_ms = store, wall_ms

    async def get(self, session: str) -> Work | None:
        return work_of(await self._store.get(WORK, key(session)))

    async def all(self) -> list[Work]:
        """The newest first. Of more than are kept, any may be left out."""
        names = (await self._store.keys(WORK))[: 2 * SESSIONS_MAX]
        found = [work_of(await self._store.get(WORK, name)) for name in names]
        return sorted((one for one in found if one is not None), key=_newest)

    async def signal_for(self, work: Work) -> Signal | None:
        """The signal that was given at the line where this session is, taken or not."""
        signal, _ = await self._signal(work.id)
        return signal if signal is not None and _is_of(signal, work) else None

    async def signal(self, work: Work, *, by: str, reason: str) -> Signal:
        """Given once, however often it is asked for: one that waits to be taken stays as it is. One that was taken, by who then
        did not begin, may be given anew.
        """
        for _ in range(RACES_MAX):
            known, revision = await self._signal(work.id)
            if known is not None and _is_of(known, work) and not known.taken_at_ms:
                return known
            given = Signal(
                session=work.id, step=work.step, line=work.line, by=by, at_ms=self._wall_ms(), reason=reason
            )
            if await self._put(given, revision):
                return given
        raise PeerFault("store_contended", "others give and take signals for it all the time")

    async def take(self, session: str, step: str) -> Signal | None:
        """The signal for this step, once; None where none was given, or the session is not where it was when it was."""
        given, revision = await self._signal(session)
        if given is None or given.taken_at_ms or given.step != step:
            return None
        work = await self.get(session)
        if work is None or not _is_of(given, work) or refusal(work, step) is not None:
            return None
        taken = msgspec.structs.replace(given, taken_at_ms=max(1, self._wall_ms()))
        return taken if await self._put(taken, revision) else None

    async def _signal(self, session: str) -> tuple[Signal | None, int]:
        """What is kept, with its revision; what cannot be read is none, and is written over."""
        entry = await self._store.get(SIGNALS, key(session))
        if entry is None:
            return None, 0
        try:
            return _SIGNAL(entry.value), entry.revision
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None, entry.revision

    async def _put(self, signal: Signal, revision: int) -> bool:
        value, where = _ENCODE(signal), key(signal.session)
        done = await self._store.put(SIGNALS, where, value, expect=revision, ttl_ms=SIGNAL_TTL_MS)
        return done is not None


def _is_of(signal: Signal, work: Work) -> bool:
    return (signal.session, signal.step, signal.line) == (work.id, work.step, work.line)


def _newest(work: Work) -> tuple[int, str]:
    return -work.updated_at_ms, work.id
