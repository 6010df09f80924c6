"""One call, told as it happens: a question, a provider that fails twice and is replaced, an answer, an interruption.

Everything shown is what the kernel was given and what it asked for, in virtual time. Whoever reads it need not know
RSPP: each line says in plain words who did what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text as Line

from rspp.contract.event import NS_PER_MS, Audio, Signal, Text
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.memory import conversation_in
from rspp.sim.scenario import Armed, Knobs, Scenario
from rspp.sim.script import Act, Phrase, spoken_ms
from rspp.sim.session import Outcome, Session
from rspp.sim.world import Seat

COLOURS: Final[Mapping[str, str]] = {
    "caller": "cyan",
    "turn": "green",
    "model": "magenta",
    "playback": "yellow",
    "control": "blue",
}
QUESTION: Final = "i lost my card yesterday evening"
INTERRUPTION: Final = "no wait it was a different card"
ANSWERS: Final = (
    "I am sorry to hear that. I have blocked the card that ends in forty-two. A new one will reach you in three days.",
    "Thank you for telling me. I have blocked the other card instead.",
)
STRIP_MS: Final = 100
STRIP_WIDTH: Final = 96
PROVIDER_NAMES: Final = {"llm": "language model", "tts": "voice", "stt": "recogniser"}


def demo_scenario(seed: int) -> Scenario:
    """A call that has one of each: a question, two failures, an answer, an interruption, a cough."""
    return Scenario(
        seed=seed,
        session=1,
        wish="none",
        seconds=16,
        knobs=Knobs(
            interruption="pause_then_decide",
            overlap="preempt",
            speculation=True,
            apology=True,
            degrade_tts=True,
            late_events="drop",
            recording_level="L0",
            synchronised=False,
            narrow=False,
            reports=True,
            network_ms=20,
            stt_partial_ms=120,
            stt_final_ms=140,
            stt_endpoints=False,
            llm_first_ms=220,
            llm_gap_ms=30,
            llm_accepts=True,
            tts_first_ms=120,
            tts_speed=4,
            cancel_ack_ms=25,
            evidence_ms=2,
            hangs_up="ends",
        ),
        script=(
            Act("talk", wait_ms=200, phrases=(Phrase(QUESTION, spoken_ms(QUESTION)),)),
            Act("cough_over", "speech", 700, (Phrase("", 160, 0, 0.1),)),
            Act("talk_over", "speech", 1_500, (Phrase(INTERRUPTION, spoken_ms(INTERRUPTION)),)),
        ),
        faults=(Armed("llm_broken", 0), Armed("llm_broken", 0)),
    )


class Narrator:
    """Turns inputs and effects into lines, and keeps the few numbers of the summary."""

    def __init__(self, tell: Callable[[int, str, str], None]) -> None:
        self._tell = tell
        self.voiced: dict[int, None] = {}  # by strip column
        self.sent: dict[str, list[str]] = {}  # turn -> the texts that were to be spoken
        self.remembered: dict[str, str] = {}
        self.opened_at: int | None = None
        self.first_output_ms: list[int] = []
        self.voice_over_at: int | None = None
        self.interrupted_at: int | None = None
        self._closed: str | None = None
        self._voicing = False
        self._waiting_output = False
        self._audio_of: str | None = None

    def saw(self, now: int, seat: Seat, what: i.Input | fx.Effect) -> None:
        kind = type(what)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, now, what)

    # ---- inputs --------------------------------------------------------------------------------------------------

    def scored(self, now: int, score: i.SpeechScored) -> None:
        voicing = score.probability > 0.5
        if voicing:
            self.voiced[now // (STRIP_MS * NS_PER_MS)] = None
        if voicing and not self._voicing:
            self.voice_over_at = now
        self._voicing = voicing

    def produced(self, now: int, chunk: i.CallProduced) -> None:
        if isinstance(chunk.payload, Text) and chunk.payload.role == "user" and chunk.payload.final:
            self._tell(now, "caller", f"“{chunk.payload.text}”")

    def failed(self, now: int, failure: i.CallFailed) -> None:
        who = PROVIDER_NAMES.get(failure.call_id.rsplit("/", 1)[-1], "provider")
        self._tell(now, "model", f"the {who} fails: {failure.reason.replace('_', ' ')}")

    def line(self, now: int, changed: i.ConnectionChanged) -> None:
        words = {"connected": "calls, and is connected", "ended": "hangs up"}
        self._tell(now, "caller", words.get(changed.state.value, changed.state.value))

    # ---- effects -------------------------------------------------------------------------------------------------

    def invoked(self, now: int, call: fx.Invoke) -> None:
        name = PROVIDER_NAMES.get(call.modality)
        if name is None:
            return
        again = f", attempt {call.attempt}" if call.attempt > 1 else ""
        spoken = call.event.payload if call.event is not None else None
        about = f" to say “{spoken.text}”" if call.modality == "tts" and isinstance(spoken, Text) else ""
        self._tell(now, "model", f"{call.provider}, the {name}, is asked{about}{again}")

    def stopping(self, now: int, effect: fx.CancelCall) -> None:
        if effect.reason.value == "barge_in":
            modality = effect.call_id.rsplit("/", 1)[-1]
            self._tell(now, "model", f"the {PROVIDER_NAMES.get(modality, modality)} is told to stop")

    def sending(self, now: int, effect: fx.Send) -> None:
        payload, turn = effect.event.payload, effect.event.scope.turn_id
        if isinstance(payload, Text) and turn is not None and payload.text:
            self.sent.setdefault(turn, []).append(payload.text)
        if isinstance(payload, Audio) and payload.samples and turn != self._audio_of:
            self._audio_of = turn
            if self.opened_at is not None:
                self.first_output_ms.append((now - self.opened_at) // NS_PER_MS)
            self._tell(now, "playback", "the first sound of the answer leaves for the caller")

    def pause(self, now: int, effect: fx.PausePlayback) -> None:
        self._tell(
            now, "playback", "falls silent at once: there is a voice, and nobody knows yet what it means"
        )

    def resume(self, now: int, effect: fx.ResumePlayback) -> None:
        self._tell(now, "playback", "goes on where it stopped: it was no interruption")

    def stop(self, now: int, effect: fx.StopPlayback) -> None:
        if self.interrupted_at is None:
            self.interrupted_at = self.voice_over_at
        self._tell(now, "playback", "what the caller has not heard yet is thrown away")

    def saved(self, now: int, effect: fx.SaveState) -> None:
        """What is saved after a turn ends with that turn's words."""
        history = conversation_in({effect.key: effect.value}).get("history")
        if isinstance(history, list) and history and self._closed:
            role, text = history[-1]
            if role == "assistant":
                self.remembered[self._closed] = str(text)

    def ended(self, now: int, effect: fx.EndSession) -> None:
        self._tell(now, "control", "the session is over, and nothing of it is left running")

    def announced(self, now: int, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if not isinstance(signal, Signal):
            return
        if signal.signal == "turn_open":
            self.opened_at = now
        elif signal.signal == "close":
            self._closed = effect.event.scope.turn_id
        told = _SIGNALS.get(signal.signal)
        if told is not None:
            lane, words = told
            self._tell(now, lane, words if isinstance(words, str) else words(signal))


def _detail(signal: Signal, name: str) -> object:
    return (signal.detail or {}).get(name)


def _opened(signal: Signal) -> str:
    early = " early, because the caller has probably finished" if _detail(signal, "speculative") else ""
    return f"turn {_detail(signal, 'ordinal')} opens{early}"


def _cut(signal: Signal) -> str:
    return f"of {_detail(signal, 'sent_ms')} ms sent, the caller has heard {_detail(signal, 'heard_ms')} ms"


_SIGNALS: Final[Mapping[str, tuple[str, str | Callable[[Signal], str]]]] = {
    "speech_started": ("caller", "a voice, long enough to be no click"),
    "speech_stopped": ("caller", "has stopped speaking"),
    "turn_open": ("turn", _opened),
    "turn_confirmed": ("turn", "the guess was right: the turn goes on as it is"),
    "turn_superseded": ("turn", "the guess was wrong: the turn is taken back"),
    "provider_switch": ("model", lambda signal: f"gives up on {_detail(signal, 'previous')}, goes on with {_detail(signal, 'provider')}"),
    "barge_in": ("control", "an interruption: the caller takes the floor"),
    "cancel": ("control", "from here on nothing of the old turn leaves, wherever it is"),
    "playback_cancelled": ("playback", _cut),
    "playback_completed": ("playback", "the caller has heard the whole answer"),
    "memory_truncated": ("turn", "the assistant remembers only what was heard"),
    "commit": ("turn", "the turn is complete; its evidence is stored"),
    "abort": ("turn", lambda signal: f"the turn ends unfinished: {(signal.reason or '').replace('_', ' ')}; its evidence is stored"),
}  # fmt: skip

_HANDLERS: Final[Mapping[type, Callable[..., None]]] = {
    i.SpeechScored: Narrator.scored,
    i.CallProduced: Narrator.produced,
    i.CallFailed: Narrator.failed,
    i.ConnectionChanged: Narrator.line,
    fx.Invoke: Narrator.invoked,
    fx.CancelCall: Narrator.stopping,
    fx.Send: Narrator.sending,
    fx.PausePlayback: Narrator.pause,
    fx.ResumePlayback: Narrator.resume,
    fx.StopPlayback: Narrator.stop,
    fx.SaveState: Narrator.saved,
    fx.EndSession: Narrator.ended,
    fx.Announce: Narrator.announced,
}


def show(console: Console, seed: int = 1) -> Outcome:
    """Run the demo call and print it."""
    console.print()
    console.print(
        Line("A simulated call", "bold"), Line("in virtual time; the kernel is the real one", "dim")
    )
    console.print()

    def tell(now: int, lane: str, words: str) -> None:
        line = Line(f"{now / 1e9:7.2f} s  ", "dim")
        line.append(f"{lane:<9}", f"bold {COLOURS[lane]}")
        line.append(words, COLOURS[lane] if lane == "caller" else "")
        console.print(line)

    narrator = Narrator(tell)
    session = Session(demo_scenario(seed), observer=narrator)
    session.providers.answers += ANSWERS
    sounding = _Strip(session)
    outcome = session.run()
    console.print()
    _print_strip(console, narrator, sounding)
    _print_summary(console, narrator, session, outcome)
    return outcome


class _Strip:
    """When the assistant was to be heard, looked at ten times a second."""

    def __init__(self, session: Session) -> None:
        self.columns: list[bool] = []
        self.held: list[bool] = []
        self._session = session
        self._look()

    def _look(self) -> None:
        play = self._session.client.play
        self.columns.append(self._session.client.audible())
        self.held.append(play is not None and play.paused_at is not None)
        self._session.world.after(STRIP_MS, self._look)


def _print_strip(console: Console, narrator: Narrator, strip: _Strip) -> None:
    """Who was to be heard when, a tenth of a second a character."""
    last = max([*narrator.voiced, *(n for n, on in enumerate(strip.columns) if on)], default=0) + 2
    for start in range(0, last, STRIP_WIDTH):
        columns = range(start, min(start + STRIP_WIDTH, last))
        ruler = "".join(f"{column // 10:<10}" for column in columns if column % 10 == 0)
        console.print(Line(f"{'seconds':<11}", "dim"), Line(ruler, "dim"), sep="")
        caller = "".join("█" if column in narrator.voiced else "·" for column in columns)
        console.print(
            Line(f"{'caller':<11}", f"bold {COLOURS['caller']}"), Line(caller, COLOURS["caller"]), sep=""
        )
        assistant = "".join(_assistant_mark(strip, column) for column in columns)
        console.print(
            Line(f"{'assistant':<11}", f"bold {COLOURS['playback']}"),
            Line(assistant, COLOURS["playback"]),
            sep="",
        )
        console.print()


def _assistant_mark(strip: _Strip, column: int) -> str:
    if column >= len(strip.columns):
        return "·"
    return "█" if strip.columns[column] else ("‖" if strip.held[column] else "·")


def _print_summary(console: Console, narrator: Narrator, session: Session, outcome: Outcome) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    aborted = "".join(f", {n} {reason.replace('_', ' ')}" for reason, n in outcome.aborts.items())
    table.add_row("turns", f"{outcome.turns}: {outcome.commits} completed{aborted}")
    first = ", ".join(f"{ms} ms" for ms in narrator.first_output_ms)
    table.add_row("first sound", f"{first} after the turn opened (two failed attempts are in the first)")
    table.add_row("silence", _silence(narrator, session))
    for turn_id, texts in narrator.sent.items():
        table.add_row(f"turn {turn_id.rsplit('-', 1)[-1]}, sent", Line(" ".join(texts), "dim"))
        table.add_row("  remembered", narrator.remembered.get(turn_id, "nothing"))
    found = (
        "nothing that must hold was violated"
        if not outcome.violations
        else f"{len(outcome.violations)} violations"
    )
    table.add_row("checked", found)
    console.print(Panel(table, title="in short", title_align="left", border_style="dim"))


def _silence(narrator: Narrator, session: Session) -> str:
    """From the caller's first voiced frame to the last sound of the assistant, at the caller's ear."""
    began = narrator.interrupted_at
    cut = [play for play in session.client.plays.values() if play.stopped_at is not None]
    if began is None or not cut:
        return "nobody was interrupted"
    silent = cut[0].paused_at if cut[0].paused_at is not None else cut[0].stopped_at
    took = ((silent or began) - began) // NS_PER_MS
    return (
        f"{took} ms after the caller's first sound, {session.world.knobs.network_ms} of them on the network"
    )
