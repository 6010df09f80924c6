"""What every Recorder must do: keep what it said it took, say at once when it did not, and never raise.

checks = recorder.conformance(lambda: RecorderTarget(recorder=r, kept=lambda: {...}, breaks=fill_the_disk))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from rspp.contract.event import Audio
from rspp.contract.evidence import EVIDENCE_VERSION, CloseStamp, TurnEvidence
from rspp.host.ports import EVIDENCE_LATER, Recorder, TellsSession
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.testing.conformance.checks import Check, NotApplicableError, require
from rspp.testing.rig import open_request

TURNS: Final = 50
FRAMES: Final = 500
# A disk is never waited for; even a busy machine does ten frames in this time.
APPEND_MS_MAX: Final = 20.0
PAUSES_FORGIVEN: Final = 3
ANSWER_MS_MAX: Final = 5_000


class RecorderTarget(msgspec.Struct, kw_only=True):
    """One session's recorder.

    `kept` reads back what it has, record id -> evidence; `stamps` the ids of the turns it knows to be closed. `breaks`, if
    it can be done, takes away what the recorder needs: its disk, its space.
    """

    recorder: Recorder
    kept: Callable[[], Mapping[str, TurnEvidence]]
    stamps: Callable[[], Mapping[str, CloseStamp]]
    breaks: Callable[[], None] | None = None
    # What the recorder has told its session of evidence, by record id.
    told: dict[str, i.EvidenceStored] = {}

    def hear(self, received: i.Input) -> bool:
        """The session, as the recorder is attached to it."""
        if isinstance(received, i.EvidenceStored):
            self.told[received.record_id] = received
        return True


def conformance(make: Callable[[], RecorderTarget]) -> list[Check]:
    """The suite. Each check has a fresh recorder, and closes it."""
    return [Check(category, name, _closing(body, make)) for category, name, body in ROWS]


Body = Callable[[RecorderTarget], Awaitable[None]]


def _closing(body: Body, make: Callable[[], RecorderTarget]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        target = make()
        try:
            await body(target)
        finally:
            target.recorder.closed()

    return run


async def _keeps(target: RecorderTarget) -> None:
    _open(target)
    wanted = {}
    for number in range(TURNS):
        evidence = sample(number)
        _frame(target.recorder, number)
        refused = await _ask(target, f"record-{number}", evidence)
        require(refused is None, f"it refused evidence that nothing forbids: {refused}")
        wanted[f"record-{number}"] = evidence
        require(target.kept().get(f"record-{number}") == evidence, "it took evidence and does not have it")
    target.recorder.closed()
    await _until(lambda: len(target.kept()) == len(wanted))
    require(dict(target.kept()) == wanted, "when it was closed, it had other evidence than it took")


async def _once(target: RecorderTarget) -> None:
    _open(target)
    for _ in range(2):
        refused = await _ask(target, "record-1", sample(1))
        require(refused is None, f"it refused evidence that it has: {refused}")
    require(list(target.kept()) == ["record-1"], f"one record given twice is kept as {list(target.kept())}")


async def _stamps(target: RecorderTarget) -> None:
    _open(target)
    stamp = CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5)
    await _ask(target, "record-1", sample(1))
    target.recorder.closed_turn("record-1", stamp)
    await _until(lambda: "record-1" in target.stamps())
    found = target.stamps().get("record-1")
    require(found == stamp, f"the turn was closed with {stamp}, and {found} is kept")


async def _bare(target: RecorderTarget) -> None:
    _open(target)
    require(await _ask(target, "record-1", sample(1)) is None, "it wants inputs before it takes evidence")


async def _refuses(target: RecorderTarget) -> None:
    if target.breaks is None:
        raise NotApplicableError("nothing that it needs can be taken away")
    _open(target)
    _frame(target.recorder, 0)
    target.breaks()
    answer = None
    for number in range(TURNS):
        _frame(target.recorder, number)
        answer = await _ask(target, f"record-{number}", sample(number))
        if answer is not None:
            break
        require(f"record-{number}" in target.kept(), "it said that it took evidence, and does not have it")
    require(answer, "what it needs was taken away, and it still says that it takes evidence")


async def _closes_broken(target: RecorderTarget) -> None:
    """What it had not written yet when its disk was full is lost, and nobody dies of it."""
    if target.breaks is None:
        raise NotApplicableError("nothing that it needs can be taken away")
    _open(target)
    target.breaks()
    _frame(target.recorder, 0)
    target.recorder.closed_turn("record-1", CloseStamp(session_id="s1", turn_id="turn-1", turn_close_at=5))
    target.recorder.closed()


async def _calm(target: RecorderTarget) -> None:
    recorder = target.recorder
    stamp = CloseStamp(session_id="s1", turn_id="turn-9", turn_close_at=5)
    _frame(recorder, 0)
    recorder.closed_turn("never-seen", stamp)
    _open(target)
    _open(target)
    recorder.took(-5, i.MalformedReceived("malformed", "$", "\udcff\x00"))
    recorder.closed()
    recorder.closed()
    _frame(recorder, 1)
    recorder.closed_turn("record-1", stamp)
    recorder.evidence("record-late", sample(9))


async def _quick(target: RecorderTarget) -> None:
    _open(target)
    spent = []
    for number in range(FRAMES):
        since = time.perf_counter()
        _frame(target.recorder, number)
        if number % 20 == 0:
            target.recorder.evidence("record", sample(1))
        spent.append((time.perf_counter() - since) * 1000)
    # Not the very worst: a pause of the machine's own is no fault of a recorder, but it does not come every time.
    slow = sorted(spent)[-PAUSES_FORGIVEN - 1]
    require(slow <= APPEND_MS_MAX, f"it kept the loop waiting for {slow:.1f} ms, and again")


async def _ask(target: RecorderTarget, record_id: str, evidence: TurnEvidence) -> str | None:
    """What becomes of evidence: None when it is kept, or why not. A recorder that answers later has its time."""
    answer = target.recorder.evidence(record_id, evidence)
    if answer != EVIDENCE_LATER:
        return answer
    await _until(lambda: record_id in target.told)
    require(record_id in target.told, f"it said later of evidence, and said nothing for {ANSWER_MS_MAX} ms")
    told = target.told[record_id]
    return None if told.ok else (told.reason or "no reason")


async def _until(come: Callable[[], bool]) -> None:
    """Wait for it, up to the time that an answer may take."""
    deadline = time.monotonic() + ANSWER_MS_MAX / 1000
    while not come() and time.monotonic() < deadline:  # noqa: ASYNC110 - files have no event to wait for
        await asyncio.sleep(0.001)


def _open(target: RecorderTarget) -> None:
    if isinstance(target.recorder, TellsSession):
        target.recorder.attach(target.hear)
    target.recorder.opened(open_request(), voice_template())


def _frame(recorder: Recorder, number: int) -> None:
    recorder.took(number, i.AudioReceived(Audio(bytes(640), 320, number * 320), number))
    recorder.did(number, [fx.EndFeed("call", last=False)])


def sample(number: int) -> TurnEvidence:
    """A turn's evidence: what is not known of it is missing, and stays so."""
    return TurnEvidence(
        or02_evidence_schema_version=EVIDENCE_VERSION,
        session_id="s1",
        turn_id=f"turn-{number}",
        pipeline_version="v1",
        event_id=f"evt/s1/turn-{number}/000001",
        resolved_turn_plan_id=f"plan/{number}",
        plan_hash=f"{number:064x}",
        execution_profile_version="simple/v1",
        snapshot_provenance=None,
        lease_epoch_at_turn_open=7,
        lease_epoch_at_terminal=7,
        admission_outcome=None,
        decision_outcomes=(),
        determinism_seed=number,
        merge_rule_id="merge/v1",
        merge_rule_version="v1",
        ordering_markers=(),
        nondeterministic_inputs=(),
        envelope_snapshot="v1.0",
        payload_tags=(),
        redaction_decisions=(),
        turn_open_proposed_at=1,
        turn_open_at=2,
        turn_terminal_at=3,
        terminal_outcome="commit",
    )


ROWS: Final[Sequence[tuple[str, str, Body]]] = [
    ("evidence", "keeps the evidence that it took", _keeps),
    ("evidence", "keeps a record once when it is given twice", _once),
    ("evidence", "keeps how a turn was closed", _stamps),
    ("evidence", "takes evidence without a word of what came before", _bare),
    ("refusal", "says why when it cannot keep evidence", _refuses),
    ("refusal", "closes in peace when it could not keep what it had", _closes_broken),
    ("isolation", "never raises, whatever it is told and when", _calm),
    ("isolation", "makes nobody wait", _quick),
]
