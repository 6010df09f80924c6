"""The providers of words and voices: quick or slow, whole or half, obedient or not, and in every way a failure.

Each call is a job: some pieces of output, a rhythm, and perhaps a fault that was armed for it. A job that a kernel has
given up goes on if its fault says so: what arrives too late must do no harm.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Audio, Text
from rspp.contract.words import OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.sim.listeners import MODALITIES, Listeners
from rspp.sim.scenario import pick
from rspp.sim.world import Seat, World

FRAME: Final = bytes(640)
SAMPLES: Final = 320
FRAMES_A_BATCH: Final = 5
CHARACTERS_PER_SECOND: Final = 15
FLOOD_SENTENCES: Final = 280
DOWN_MS: Final = 3_000
ANSWERS: Final = (
    "Of course. We close at nine this evening.",
    "Yes, there is. It is just behind the station, and it is free after six.",
    "Let me look that up. The next train leaves at ten past four. It takes twenty minutes to the airport.",
    "I have moved your appointment to Friday at ten. You will get a message that confirms it. Is there anything else?",
    "I am sorry to hear that! I have blocked the card. A new one is on its way. It arrives within three days.",
    "You can cancel without charge until noon on the day before. After that we keep half of the price.",
    "Certainly.",
)
LONG_ANSWER: Final = (
    "There are several things to know about this and I will take them one after the other so that nothing is left out "
    "and you can decide in your own time what suits you best of all the things that we can offer you here today."
)
_FAILURES: Final = {
    "overloaded": (OutcomeClass.OVERLOAD, "rate_limited", True, True, 200),
    "blocked": (OutcomeClass.BLOCKED, "policy", False, False, None),
    "broken": (OutcomeClass.INFRASTRUCTURE_FAILURE, "server_error", True, True, None),
    "cancelled": (OutcomeClass.CANCELLED, "provider_cancelled", False, False, None),
    "down": (OutcomeClass.INFRASTRUCTURE_FAILURE, "connection_refused", True, True, None),
}
# These show only when the kernel cancels: they fire then, not when the call begins.
_ON_CANCEL: Final = ("ignores_cancel", "late_ack")


class Job:
    """One attempt of one call at one provider."""

    __slots__ = (
        "attempt",
        "call_id",
        "cancelled",
        "flaw",
        "index",
        "killed",
        "modality",
        "pieces",
        "seat",
        "sequence",
        "stopped",
        "throttled",
        "waiting",
    )

    def __init__(self, seat: Seat, call: fx.Invoke, flaw: str) -> None:
        self.seat = seat
        self.call_id = call.call_id
        self.attempt = call.attempt
        self.modality = call.modality
        self.flaw = flaw
        self.pieces: list[str] | int = 0  # texts, or a number of frames
        self.index = self.sequence = 0
        self.stopped = self.cancelled = self.killed = self.throttled = self.waiting = False

    @property
    def total(self) -> int:
        return self.pieces if isinstance(self.pieces, int) else len(self.pieces)


class Providers:
    """Everybody who is invoked."""

    def __init__(self, world: World, listeners: Listeners) -> None:
        self.world = world
        self.listeners = listeners
        self.audio_ns: dict[str, int] = {}  # call -> how long all of its speech would be
        self.texts: dict[str, str] = {}  # call -> what it was given to speak
        self.answers: list[str] = []  # to be given in this order, before any other
        self._stream = world.stream("providers")
        self._jobs: dict[tuple[int, str], Job] = {}
        self._armed: dict[str, list[str]] = {"llm": [], "tts": []}
        self._down_until = {"llm": 0, "tts": 0}
        world.react(fx.Invoke, self._invoked)
        world.react(fx.CancelCall, self._cancel)
        world.react(fx.KillCall, self._kill)
        world.react(fx.Throttle, self._throttle)

    def arm(self, name: str) -> None:
        modality, _, how = name.partition("_")
        if how == "down":
            self._down_until[modality] = self.world.now + DOWN_MS * NS_PER_MS
        elif how in ("flood", "ignores_throttle") and modality == "tts":
            # A long answer is needed to flood with.
            self._armed["llm"].append("long")
            self._armed["tts"].append(how)
        else:
            self._armed[modality].append(how)

    # ---- beginning -----------------------------------------------------------------------------------------------

    def _invoked(self, seat: Seat, call: fx.Invoke) -> None:
        if call.modality in MODALITIES:
            self.listeners.invoked(seat, call)
            return
        job = Job(seat, call, self._flaw(call.modality))
        self._jobs[seat.number, call.call_id] = job
        self._plan(job, call)
        flaw = job.flaw
        if flaw in _FAILURES:
            self.world.fire(f"{job.modality}_{flaw}")
            self.world.after(40 + self._stream.below(120), self._fail, job, flaw)
            return
        if flaw in ("timeout", "silent"):
            self.world.fire(f"{job.modality}_{flaw}")
        if flaw != "timeout" and (flaw == "silent" or self.world.knobs.llm_accepts):
            self.world.after(20, self._accept, job)
        if flaw not in ("timeout", "silent"):
            self.world.after(self._first_ms(job), self._produce, job)

    def _flaw(self, modality: str) -> str:
        if self.world.now < self._down_until.get(modality, 0):
            return "down"
        armed = self._armed.get(modality, [])
        for at, how in enumerate(armed):
            if how not in _ON_CANCEL:
                return armed.pop(at)
        return ""

    def _plan(self, job: Job, call: fx.Invoke) -> None:
        """What this call would give if nothing went wrong."""
        if job.modality == "tts":
            text = call.event.payload.text if call.event and isinstance(call.event.payload, Text) else ""
            job.pieces = max(5, len(text) * 50 // CHARACTERS_PER_SECOND)
            self.audio_ns[job.call_id] = job.pieces * 20 * NS_PER_MS
            self.texts[job.call_id] = text
        elif job.flaw == "long":
            job.pieces = _pieces(LONG_ANSWER)
        elif job.flaw == "flood":
            job.pieces = ["Yes."] * FLOOD_SENTENCES
        else:
            scripted = self.answers.pop(0) if self.answers and job.flaw not in _FAILURES else None
            job.pieces = _pieces(scripted or pick(self._stream, ANSWERS))

    def _first_ms(self, job: Job) -> int:
        knobs = self.world.knobs
        base = knobs.llm_first_ms if job.modality == "llm" else knobs.tts_first_ms
        return base // 2 + self._stream.below(base)

    def _accept(self, job: Job) -> None:
        job.seat.give(i.CallAccepted(job.call_id, job.attempt))

    def _fail(self, job: Job, how: str) -> None:
        outcome, reason, retryable, circuit, after = _FAILURES[how]
        job.stopped = True
        job.seat.give(i.CallFailed(job.call_id, job.attempt, outcome, reason, retryable, circuit, after))

    # ---- going on ------------------------------------------------------------------------------------------------

    def _produce(self, job: Job) -> None:
        """The next pieces, then the rhythm's pause; at the end, the end."""
        if job.stopped:
            return
        if job.throttled and job.flaw != "ignores_throttle":
            job.waiting = True
            return
        if job.flaw in ("half", "half_silent") and job.index * 2 >= job.total:
            self._half(job)
            return
        flood = job.flaw in ("flood", "ignores_throttle")
        count = job.total if flood else (FRAMES_A_BATCH if job.modality == "tts" else 1)
        for _ in range(min(count, job.total - job.index)):
            if self._stopped(job):  # the kernel may cancel while it is being given this
                return
            self._give(job)
        if job.index >= job.total:
            self._end(job)
            return
        pause = 100 // self.world.knobs.tts_speed if job.modality == "tts" else self.world.knobs.llm_gap_ms
        self.world.after(pause, self._produce, job)

    def _stopped(self, job: Job) -> bool:
        return job.stopped

    def _give(self, job: Job) -> None:
        payload = self._piece(job)
        job.index += 1
        chunk = i.CallProduced(job.call_id, job.attempt, job.sequence, payload)
        job.sequence += 1
        job.seat.give(chunk)
        if job.flaw == "duplicates":
            if job.index == 1:
                self.world.fire(f"{job.modality}_duplicates")
            job.seat.give(chunk)

    def _piece(self, job: Job) -> Audio | Text:
        if isinstance(job.pieces, int):
            return Audio(FRAME, SAMPLES, job.index * SAMPLES)
        text = job.pieces[job.index] if job.index < len(job.pieces) else " and so on"
        return Text(text, 0, job.index, role="assistant")

    def _half(self, job: Job) -> None:
        job.stopped = True
        self.world.fire(f"{job.modality}_{job.flaw}")
        if job.flaw == "half":
            job.seat.give(
                i.CallFailed(
                    job.call_id, job.attempt, OutcomeClass.INFRASTRUCTURE_FAILURE, "stream_broken", True, True
                )
            )

    def _end(self, job: Job) -> None:
        job.stopped = True
        if job.flaw in ("flood", "ignores_throttle"):
            self.world.fire(f"{job.modality}_{job.flaw}")
        tokens = job.total * 4 if job.modality == "llm" else 0
        job.seat.give(i.CallFinished(job.call_id, job.attempt, tokens))
        if job.flaw == "late":
            self.world.fire(f"{job.modality}_late")
            for number in range(3):
                self.world.after(20 + 60 * number, self._give, job)

    # ---- being told ----------------------------------------------------------------------------------------------

    def _throttle(self, seat: Seat, effect: fx.Throttle) -> None:
        job = self._jobs.get((seat.number, effect.call_id))
        if job is None:
            return
        job.throttled = effect.on
        if not effect.on and job.waiting:
            job.waiting = False
            self.world.after(5, self._produce, job)

    def _cancel(self, seat: Seat, effect: fx.CancelCall) -> None:
        job = self._jobs.get((seat.number, effect.call_id))
        if job is None:
            self.listeners.cancelled(seat, effect.call_id, effect.attempt)
            return
        if job.attempt != effect.attempt:
            return
        job.cancelled = True
        how = self._flaw_on_cancel(job)
        if how is not None:
            self.world.fire(f"{job.modality}_{how}")
        if how == "ignores_cancel":
            return
        job.stopped = True
        delay = 90 + self._stream.below(300) if how == "late_ack" else self.world.knobs.cancel_ack_ms
        self.world.after(delay, seat.give, i.CallCancelled(job.call_id, job.attempt))

    def _flaw_on_cancel(self, job: Job) -> str | None:
        armed = self._armed[job.modality]
        # Nobody knows which call will be cancelled: such a flaw waits for the one that is.
        for how in _ON_CANCEL:
            if how in armed:
                armed.remove(how)
                return how
        return None

    def _kill(self, seat: Seat, effect: fx.KillCall) -> None:
        job = self._jobs.get((seat.number, effect.call_id))
        if job is not None and job.attempt == effect.attempt:
            job.killed = True
            # A few more pieces are on their way already.
            self.world.after(120, self._bury, job)

    def _bury(self, job: Job) -> None:
        job.stopped = True


def _pieces(text: str) -> list[str]:
    """A text as a language model streams it: a word or two at a time, blanks included."""
    words = text.split(" ")
    return [(" " if at else "") + " ".join(words[at : at + 2]) for at in range(0, len(words), 2)]
