"""`rspp demo`: a real conversation on this machine, with the claims it makes measured and checked.

A caller whose voice is the local one asks a question and hears the answer, asks another one and interrupts its answer. Nothing
is played back: the questions are spoken when the demo runs, and recognised, answered and spoken by models.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.adapters.providers.local import providers, readiness
from rspp.adapters.providers.local.catalogue import CATALOGUE
from rspp.adapters.providers.local.fetch import fetch
from rspp.adapters.providers.local.weights import cache_folder, is_present
from rspp.adapters.transports.loopback import Step, UntilAnswered, UntilHeard, ask
from rspp.adapters.transports.loopback.script import level_of
from rspp.cli.call_report import TurnReport
from rspp.cli.compose import READY, Pipeline, installed
from rspp.cli.output import Status
from rspp.cli.recorded import Choice, Recorded, check, export_rest, record_options
from rspp.cli.recordings import Where, load
from rspp.cli.run import prepared
from rspp.cli.run_call import CallResult, Sounds, run_call, write_call
from rspp.cli.run_view import StderrProgress, live, logging_to_stderr, next_commands, show
from rspp.contract.errors import PeerFault
from rspp.contract.event import Audio, Event, Scope, Text
from rspp.contract.words import EventKind, PayloadClass
from rspp.host.ports import CallRequest, Chunk, EndOfFeed, Provider, ReactiveProvider
from rspp.host.secrets import Secrets
from rspp.media.wav import Sound
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.modes import Mode, Outputs

# Where a pipeline is looked for: in a project of `rspp init`, and in this repository.
HERE: Final = (Path("pipeline.yaml"), Path("examples/voice-assistant.yaml"))
VOICE: Final = "local-hibari"
FIRST: Final = "What is the largest ocean on Earth?"
SECOND: Final = "Please tell me a long story about a dog and a cat."
INTERRUPTION: Final = "Stop, thank you. That is enough for now."
HEARD_MS: Final = 1_500  # of the second answer, before the interruption
SILENCE_MS_MAX: Final = 1_000
# Softer than this (-60 dB of full scale) is silence.
LEVEL_SILENT: Final = 33.0
CALL_S_MAX: Final = 60.0


@click.command(epilog="Exit status: 0 every claim holds, 1 one does not, 2 the command was used wrongly.")
@click.argument("pipeline", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default="demo-out.wav", show_default=True
)
@click.option("--listen", metavar="HOST:PORT", help="Afterwards, take calls there and serve the page.")
@record_options
@click.pass_context
def command(
    context: click.Context, pipeline: Path | None, out: Path, listen: str | None, choice: Choice
) -> None:
    """Hear a real pipeline on this machine: asked, answering, interrupted, silent.

    Without PIPELINE it is pipeline.yaml of this folder, or examples/voice-assistant.yaml.

    Fetches the models on the first run. Writes the call as WAV, the caller left and the assistant right. The call is
    recorded, and its recording is replayed: every decision must come out the same.

    \b
    Examples:
        rspp demo
        rspp demo --listen 127.0.0.1:8080
    """
    pipeline = pipeline or _here()
    secrets = Secrets()
    undo = logging_to_stderr(verbose=False, quiet=False, secrets=secrets)
    try:
        _fetch_models()
        ready = prepared(context, pipeline, installed(secrets=secrets), choice=choice)
        check(choice)
        progress = StderrProgress(quiet=False)
        progress("speaking the caller's part")
        steps = asyncio.run(_script())
        recorded = Recorded(choice, origin="demo")
        result, sounds = run_call(
            ready, steps, speed=1.0, timeout_s=CALL_S_MAX, recorded=recorded, told=live, progress=progress
        )
        export_rest(choice, progress)
        write_call(out, sounds, stereo=True)
        show(result)
        made = claims(result, sounds)
        if recorded.opened:
            made.append(_replayed(ready, result.session_id, choice))
        failed = tell(made, out)
        if recorded.opened:
            next_commands(recorded.opened)
        if failed:
            context.exit(Status.PROBLEM)
        if listen:
            _serve(ready, listen, choice)
    finally:
        undo()


def _here() -> Path:
    """The pipeline that lies where somebody stands who names none; raises `click.UsageError`."""
    found = next((path for path in HERE if path.is_file()), None)
    if found is None:
        raise click.UsageError(
            "There is no pipeline here. Begin one: rspp init front-desk && cd front-desk && rspp demo"
        )
    return found


def _serve(pipeline: Pipeline, listen: str, choice: Choice) -> None:
    from rspp.cli.run_listen import serve  # noqa: PLC0415 - the demo alone needs no server

    serve(pipeline, listen, drain_ms=10_000, choice=choice)


def _fetch_models() -> None:
    """What the pipeline's local models lack; a package that lacks is told by the pipeline itself."""
    names = {model for provider in providers().values() for model in provider.models}
    folder = cache_folder()
    for weights in (CATALOGUE[name] for name in sorted(names)):
        if not is_present(weights, folder):
            began = time.monotonic()
            click.echo(f"fetching {weights.name}, {weights.size_bytes / 1e6:.0f} MB ...", err=True)
            try:
                fetch(weights, folder, lambda line: click.echo(line, err=True))
            except PeerFault as fault:
                raise click.ClickException(f"{weights.name}: {fault.message}") from fault
            click.echo(f"fetched in {time.monotonic() - began:.1f} s", err=True)


# ---- the caller's part ----------------------------------------------------------------------------------------------


async def _script() -> list[Step]:
    if readiness(VOICE) != READY:
        raise click.ClickException(f"{VOICE}: {readiness(VOICE)}")
    voice = providers()[VOICE].kind.factory(VOICE, {})
    assert not isinstance(voice, ReactiveProvider)
    await voice.open()
    try:
        first, second, stop = [ask(text, await spoken(voice, text)) for text in (FIRST, SECOND, INTERRUPTION)]
    finally:
        await voice.close()
    return [first, UntilAnswered(), second, UntilHeard(HEARD_MS), stop, UntilAnswered()]


class Take:
    """A call of a synthesiser that keeps what it says."""

    stopping = False

    def __init__(self, text: str) -> None:
        scope = Scope(session_id="demo", tenant_id="demo", pipeline_version="demo", epoch=1)
        said = Text(text, role="assistant", final=True)
        event = Event(scope, EventKind.TEXT, 0, 0, said, PayloadClass.TEXT_RAW)
        self.request = CallRequest("demo", 1, "tts", "tts", VOICE, "demo", 1, None, event=event)
        self.chunks: list[Audio] = []  # bounded: by one sentence

    async def feed(self) -> AsyncIterator[Event | EndOfFeed]:
        yield EndOfFeed(last=True)

    def accepted(self) -> None: ...
    def score(self, probability: float) -> None: ...
    def used(self, tokens: int) -> None: ...

    async def produce(self, payload: Chunk, port: str | None = None) -> None:
        del port
        if isinstance(payload, Audio):
            self.chunks.append(payload)


async def spoken(voice: Provider, text: str) -> Sound:
    """A text as a recording."""
    take = Take(text)
    await voice.run(take)
    return Sound(b"".join(chunk.data for chunk in take.chunks), take.chunks[0].rate)


# ---- what it claims -------------------------------------------------------------------------------------------------


class Claim(msgspec.Struct, frozen=True):
    """One thing that must be true of the call, and what was measured."""

    what: str
    holds: bool
    measured: str


def claims(result: CallResult, sounds: Sounds) -> list[Claim]:
    """Every claim, each by a measurement."""
    turns = result.turns
    first = turns[0] if turns else None
    cut = next((turn for turn in turns if turn.interrupted), None)
    return [
        _answered(first),
        Claim(
            "the second answer was interrupted",
            cut is not None and cut is not first and cut.heard_ms > 0,
            f"after {cut.heard_ms} ms of it" if cut else "no answer was",
        ),
        _silenced(cut, turns, sounds),
        Claim(
            "every turn's evidence is complete",
            bool(turns) and all(turn.evidence_complete for turn in turns),
            f"{sum(turn.evidence_complete for turn in turns)} of {len(turns)} turns",
        ),
    ]


def _replayed(pipeline: Pipeline, session_id: str, choice: Choice) -> Claim:
    """The recording, as it lies in the store, given to a fresh kernel."""
    assert pipeline.registry is not None
    recording = load(session_id, Where(data=choice.data))
    began = time.process_time()
    run = ExactRun(recording, pipeline.registry.nodes, Mode(outputs=Outputs.RE_SIMULATE))
    while run.step() is not None:
        pass
    took_s, call_s = time.process_time() - began, (recording.ended_at - recording.began_at) / 1e9
    found = run.comparison
    same = found.digest_recorded is not None and found.digest_recorded == found.digest_replayed
    holds = recording.whole and not found.count and same and run.last == len(recording.inputs) > 0
    measured = (
        f"{found.count} divergences in {run.last} inputs; {call_s:.0f} s of call in {took_s:.2f} s of CPU"
    )
    return Claim("the recorded call is replayed without any divergence", holds, measured)


def _answered(turn: TurnReport | None) -> Claim:
    what = "the question was understood and answered in speech"
    if turn is None:
        return Claim(what, False, "there was no turn")
    asked, heard = (set(re.findall(r"[a-z]+", text.lower())) for text in (FIRST, turn.transcript))
    share = len(asked & heard) / len(asked)
    whole = turn.end_of_speech_to_first_audio_ms
    holds = turn.terminal == "commit" and whole is not None and turn.heard_ms > 500 and share >= 0.6
    after = "never" if whole is None else f"after {whole:.0f} ms"
    return Claim(what, holds, f"{share:.0%} of its words; first sound {after}, {turn.heard_ms} ms of it")


def _silenced(cut: TurnReport | None, turns: Sequence[TurnReport], sounds: Sounds) -> Claim:
    """By the turn's own account, and by the level of what the caller's ear got."""
    what = f"it fell silent within {SILENCE_MS_MAX} ms of the caller's first sound"
    if cut is None or cut.speech_to_silence_ms is None or cut.interrupted_at_ms is None:
        return Claim(what, False, "no answer was interrupted")
    later = [turn.first_audio_at_ms for turn in turns[turns.index(cut) + 1 :] if turn.first_audio_at_ms]
    until = min(later, default=len(sounds.heard.pcm) / 2 / sounds.heard.rate * 1000)
    loudest = loudest_between(sounds.heard, cut.interrupted_at_ms + SILENCE_MS_MAX, until - 20)
    holds = cut.speech_to_silence_ms <= SILENCE_MS_MAX and loudest < LEVEL_SILENT
    return Claim(what, holds, f"{cut.speech_to_silence_ms:.0f} ms; then at most level {loudest:.0f} of 32768")


def loudest_between(sound: Sound, from_ms: float, to_ms: float) -> float:
    """The loudest 20 ms of a stretch."""
    step = 2 * sound.rate // 50
    first, last = (2 * int(ms * sound.rate / 1000) for ms in (from_ms, to_ms))
    levels = [level_of(sound.pcm[at : at + step]) for at in range(first, max(first, last - step), step)]
    return max(levels, default=0.0)


def tell(made: Sequence[Claim], out: Path) -> bool:
    """Print each claim; says whether one failed."""
    click.echo("")
    for claim in made:
        click.echo(f"{'ok  ' if claim.holds else 'FAIL'}  {claim.what}: {claim.measured}")
    click.echo(f"\n{out}: the call; the caller is left, the assistant right")
    return not all(claim.holds for claim in made)
