"""The callers' half of the interruption benchmark, on the other core: `python -m rspp.cli.bench_interrupt_callers JSON`.

Some callers are interrupted while they listen: by their own speech, then by a cancel. Others talk all the time and are the
load. Everything is measured at this end of real sockets, by one clock.
"""

from __future__ import annotations

import asyncio
import sys
from array import array
from time import monotonic_ns
from typing import Final

import msgspec
from picows import WSMsgType

from rspp.cli import bench_machine as machine
from rspp.cli.bench_call import Call as KernelCall
from rspp.cli.bench_interrupt_server import TALK_VERSION, InterruptOrder, Noted
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_rounds import Rounds
from rspp.cli.bench_socket import ENCODING, SERVER_START_S_MAX, SocketCaller, connect
from rspp.cli.bench_talk import ANSWERED_AFTER_MS, LOUD, QUIET, SAMPLES, pipeline
from rspp.cli.compose import installed
from rspp.contract.event import Audio, Text
from rspp.contract.wire import Control, Hello, Playback, Say, encode, encode_header
from rspp.contract.words import CancelScope, EventKind, PayloadClass
from rspp.host.calls import Inside, Reply
from rspp.host.ports import ReactiveProvider
from rspp.kernel.effects import Invoke
from rspp.kernel.inputs import CallProduced, Input

CALLERS: Final = 8
LISTEN_S: Final = 0.6  # to an answer before it is interrupted
ANSWER_S_MAX: Final = 6.0
AFTER_S: Final = 0.4  # after the interruption's last word: what of the old answer would still come has come
# A voice for the detector that wants one.
VOICE: Final = "local-hibari"
WORDS: Final = "Wait, please stop, I have another question."
VOICE_S_MAX: Final = 30.0
SPEECH_FRAMES_MAX: Final = 80
TONE_FRAMES: Final = 60
LOUD_LEVEL: Final = 600


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    load: int
    interruptions: int
    cancels: int
    detector: str
    core: int


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """What one benchmark saw, in nanoseconds. `missed`: interruptions after which the old answer went on."""

    silence_ns: list[int]
    pause_ns: list[int]
    detector_ns: list[int]
    cancel_ns: list[int]
    cancel_silence_ns: list[int]
    missed: int
    speech: str
    load_heard_share: float


class Interrupter(SocketCaller):
    """A caller who listens, and then does not."""

    def __init__(self, speech: list[bytes]) -> None:
        super().__init__(Lateness(), 0)
        self.spoke_at = self.paused_at = self.stopped_at = 0
        self.heard_at: dict[str, int] = {}  # bounded: by the turns of one benchmark
        self.begun_at: dict[str, int] = {}  # bounded: likewise
        self._speech = speech
        self._over = ""  # the answer that was interrupted last
        self._left: list[bytes] = []  # bounded: by the speech

    def hello(self) -> Hello:
        return Hello(tenant="bench", pipeline=TALK_VERSION)

    def say(self) -> None:
        sound = QUIET
        if self._left:
            sound = self._left.pop()
            self.spoke_at = self.spoke_at or monotonic_ns()
        self._transport.send(
            WSMsgType.BINARY, encode_header(0, self.said, self._epoch, self.said * SAMPLES) + sound
        )
        self.said += 1
        self.report_now_and_then()

    def _audio(self, data: bytes) -> None:
        before = self.heard
        super()._audio(data)
        if self.heard > before:
            self.heard_at[self._turn_id] = now = monotonic_ns()
            self.begun_at.setdefault(self._turn_id, now)

    def _playback(self, message: Playback) -> None:
        if message.action == "start":
            self.begin_turn(message.turn_id)
        elif message.action == "pause":
            self.paused_at = self.paused_at or monotonic_ns()
        elif message.action == "stop":
            self.stopped_at = self.stopped_at or monotonic_ns()

    # ---- what is measured ----------------------------------------------------------------------------------------

    async def ask(self) -> None:
        self._transport.send(WSMsgType.BINARY, encode(Say(text="Tell me the whole story."), ENCODING))

    async def listen(self) -> str:
        """Until an answer has been heard for a while; which one."""
        async with asyncio.timeout(ANSWER_S_MAX):
            while True:
                turn_id = self._turn_id
                begun = self.begun_at.get(turn_id)
                heard = begun is not None and monotonic_ns() - begun > LISTEN_S * 1e9
                if heard and turn_id != self._over:
                    self._over = turn_id
                    return turn_id
                await asyncio.sleep(0.01)

    def forget(self) -> None:
        self.spoke_at = self.paused_at = self.stopped_at = 0

    async def speak(self) -> str:
        """Interrupt by speech; which answer was interrupted."""
        turn_id = await self.listen()
        self.forget()
        self._left = self._speech[::-1]
        await asyncio.sleep(len(self._speech) * 0.02 + AFTER_S)
        return turn_id

    async def cancel(self) -> int:
        """Interrupt by a cancel; nanoseconds until the last frame of that answer."""
        turn_id = await self.listen()
        self.forget()
        at = monotonic_ns()
        self._transport.send(WSMsgType.BINARY, encode(Control("cancel", CancelScope.TURN), ENCODING))
        await asyncio.sleep(AFTER_S)
        return max(0, self.heard_at[turn_id] - at)


# ---- the run -------------------------------------------------------------------------------------------------------


async def measure(order: Order) -> Interrupted:
    """One benchmark, with a server of its own."""
    speech, spoken_by = await voice()
    lead_in = ANSWERED_AFTER_MS / 1000 + 1
    rounds_s = (order.interruptions + order.cancels) / CALLERS * 4 + 10
    wanted = InterruptOrder(
        sessions=order.load + CALLERS,
        answer_ms=int((lead_in + rounds_s) * 1000),
        core=order.core,
        detector=order.detector,
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rspp.cli.bench_interrupt_server",
        msgspec.json.encode(wanted).decode(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        url = (await asyncio.wait_for(server.stdout.readline(), SERVER_START_S_MAX)).decode().strip()
        if not url:
            raise ConnectionError("the server did not start")
        load = [SocketCaller(Lateness(), number % 50) for number in range(order.load)]
        callers = [Interrupter(speech) for _ in range(CALLERS)]
        await connect(url, [*load, *callers])
        rounds = Rounds([*load, *callers], lambda caller: caller.say())
        await asyncio.sleep(lead_in)
        heard, since = sum(caller.heard for caller in load), monotonic_ns()
        spoken = await interruptions(callers, order.interruptions)
        cancels = await cancellations(callers, order.cancels)
        due = len(load) * (monotonic_ns() - since) / 20e6
        heard = sum(caller.heard for caller in load) - heard
        rounds.stop()
        server.stdin.write(b"end\n")
        noted = msgspec.json.decode(await server.stdout.readline(), type=Noted)
        for caller in [*load, *callers]:
            caller.hang_up()
        await server.wait()
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()
    kept = [one for one in spoken if one.silence_ns is not None]
    return Interrupted(
        silence_ns=[one.silence_ns for one in kept if one.silence_ns is not None],
        pause_ns=[one.pause_ns for one in kept],
        detector_ns=[first_after(noted, one) for one in kept],
        cancel_ns=noted.cancel_ns,
        cancel_silence_ns=cancels,
        missed=len(spoken) - len(kept),
        speech=spoken_by,
        load_heard_share=round(heard / due, 3) if due else 1.0,
    )


class Trial(msgspec.Struct, frozen=True):
    """One interruption by speech. `silence_ns` is None when the old answer went on."""

    session: str
    spoke_at: int
    silence_ns: int | None
    pause_ns: int


async def interruptions(callers: list[Interrupter], count: int) -> list[Trial]:
    """So many in all, by all callers side by side."""

    async def some(caller: Interrupter, number: int) -> list[Trial]:
        trials: list[Trial] = []
        # Callers who all speak at one time are no crowd: each begins a little later than the one before.
        await asyncio.sleep(0.13 * number)
        await caller.ask()
        for _ in range(-(-count // len(callers))):
            turn_id = await caller.speak()
            told = caller.paused_at or caller.stopped_at
            stopped = bool(caller.stopped_at)
            silence = max(0, caller.heard_at[turn_id] - caller.spoke_at) if stopped else None
            trials.append(Trial(caller.session, caller.spoke_at, silence, told - caller.spoke_at))
        return trials

    found = await asyncio.gather(*(some(caller, number) for number, caller in enumerate(callers)))
    return [trial for trials in found for trial in trials]


async def cancellations(callers: list[Interrupter], count: int) -> list[int]:
    """So many cancels in all; for each, the nanoseconds until its last frame."""

    async def some(caller: Interrupter, number: int) -> list[int]:
        await asyncio.sleep(0.07 * number)
        waits: list[int] = []
        for _ in range(-(-count // len(callers))):
            # The first is the answer to what was said in the last interruption.
            waits.append(await caller.cancel())
            await caller.ask()
        return waits

    found = await asyncio.gather(*(some(caller, number) for number, caller in enumerate(callers)))
    return [wait for waits in found for wait in waits]


def first_after(noted: Noted, trial: Trial) -> int:
    """From the first frame of speech sent to the detector's word for it."""
    crossings = noted.speech_at.get(trial.session, [])
    return min((at - trial.spoke_at for at in crossings if at >= trial.spoke_at), default=-1)


# ---- the interruption's sound --------------------------------------------------------------------------------------


async def voice() -> tuple[list[bytes], str]:
    """An interruption to say: a synthesised voice where there is one, else a loud tone; and which it is."""
    kinds = installed()
    if kinds.state(VOICE) != "ready":
        return [LOUD] * TONE_FRAMES, "tone"
    provider = kinds.table[VOICE].factory(VOICE, {})
    assert not isinstance(provider, ReactiveProvider)
    await provider.open()
    try:
        desk = KernelCall(pipeline(1_000)).kernel.desk
        event = desk.event(EventKind.TEXT, Text(WORDS, final=True), PayloadClass.TEXT_RAW)
        request = Invoke("voice", 1, "tts", "tts", VOICE, "voice", 1, None, event=event)
        tape = Tape()
        async with asyncio.timeout(VOICE_S_MAX):
            await provider.run(Inside(request, Reply(request, tape, lambda _: None)))
    finally:
        await provider.close()
    return framed(b"".join(tape.sound)), VOICE


class Tape:
    """Takes what a synthesiser produces."""

    def __init__(self) -> None:
        self.sound: list[bytes] = []  # bounded: by the words

    def ingest(self, received: Input) -> bool:
        if isinstance(received, CallProduced) and isinstance(received.payload, Audio):
            self.sound.append(received.payload.data)
        return True


def framed(pcm: bytes) -> list[bytes]:
    """The sound in frames, from the first that is loud: before it nobody could have heard speech."""
    size = len(QUIET)
    frames = [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]
    first = next((number for number, frame in enumerate(frames) if max(array("h", frame)) >= LOUD_LEVEL), 0)
    return frames[first : first + SPEECH_FRAMES_MAX]


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    machine.pin(machine.other_core(order.core))
    sys.stdout.write(msgspec.json.encode(machine.run(measure(order))).decode() + "\n")


if __name__ == "__main__":
    main()
