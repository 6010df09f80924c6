"""`rspp summary`: one session in figures."""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.output import emit_json, print_table
from rspp.cli.recordings import Where, load, where_options
from rspp.contract.errors import RsppError
from rspp.timeline.prices import Prices, read_prices
from rspp.timeline.summary import Summary, summarise
from rspp.timeline.usage import Provider
from rspp.timeline.view.text import plain


@click.command(
    epilog="Exit status: 0 summed up, 1 the session is not there or cannot be read, 2 wrong usage."
)
@click.argument("session")
@click.option(
    "--prices",
    "prices_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file of what providers cost; without it only tokens, characters and seconds are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@where_options
def command(session: str, where: Where, prices_file: Path | None, as_json: bool) -> None:
    """Sum SESSION up: turns, tokens, seconds of audio, cost, interruptions, latencies.

    What nobody recorded is left out (null in JSON), never guessed. A table of prices looks like this:

    \b
      currency: EUR
      prices:
        llm-a: {per_1000_tokens: 0.002}
        tts-a: {per_1000_characters: 0.015}
        stt-a: {per_minute: 0.006}

    \b
    Examples:
      rspp summary last
      rspp summary 3f2a --prices prices.yaml --json
    """
    prices = _prices(prices_file)
    try:
        summary = summarise(load(session, where), prices)
    except RsppError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        emit_json(summary)
    else:
        _print(summary)


def _prices(path: Path | None) -> Prices | None:
    if path is None:
        return None
    try:
        return read_prices(path)
    except RsppError as error:
        raise click.UsageError(str(error)) from error


def _print(one: Summary) -> None:
    turns, audio, recorded = one.turns, one.audio, one.recorded
    click.echo(
        plain(
            f"session {one.session_id}  tenant {one.tenant_id}  {one.pipeline}@{one.version}  {one.profile}"
        )
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in turns.aborted_by_reason.items())
    click.echo(
        f"{one.duration_s:.1f} s, ended: {one.ended or 'not in the recording'}; {turns.opened} turns: {turns.committed} committed,"
        f" {turns.aborted} aborted{f' ({reasons})' if reasons else ''}, {turns.unfinished} unfinished;"
        f" {turns.interrupted} interrupted, {turns.taken_back} taken back; evidence complete: {turns.evidence_complete}"
    )
    click.echo(
        f"audio received {_s(audio.received_s)}, sent {_s(audio.sent_s)}, heard {_s(audio.heard_s)};"
        f" tokens {_n(one.tokens)}; characters heard {_n(one.characters_heard)}, spoken {_n(one.characters_spoken)}"
    )
    path = " to ".join((recorded.level, *recorded.level_path))
    click.echo(
        f"recorded at {path}, {'whole' if recorded.whole else 'not whole'}, {recorded.gaps} gaps;"
        f" withheld: {recorded.withheld_texts} texts, {recorded.withheld_audio} frames of audio\n"
    )
    latencies = [(name, found.samples, found.p50_ms, found.p95_ms) for name, found in one.latencies.items()]
    print_table(("stage", "turns", "p50 ms", "p95 ms"), latencies, numbers=("turns", "p50 ms", "p95 ms"))
    if one.providers:
        click.echo("")
        numbers = ("calls", "attempts", "failed", "tokens", "characters", "seconds", "cost")
        print_table(
            ("modality", "provider", *numbers),
            [_row(provider) for provider in one.providers],
            numbers=numbers,
        )
    if one.cost is not None:
        without = f"; without a price: {', '.join(one.cost.unpriced)}" if one.cost.unpriced else ""
        click.echo(plain(f"cost {one.cost.total:.6f} {one.cost.currency}{without}"))


def _row(one: Provider) -> list[object]:
    name = f"{one.provider}/{one.model}" if one.model else one.provider
    failed = ", ".join(f"{count} {outcome}" for outcome, count in one.failures.items())
    return [
        one.modality,
        plain(name),
        one.calls,
        one.attempts,
        failed,
        one.tokens,
        one.characters,
        one.seconds,
        one.cost,
    ]


def _s(seconds: float | None) -> str:
    return "not recorded" if seconds is None else f"{seconds:.1f} s"


def _n(count: int | None) -> str:
    return "not recorded" if count is None else str(count)
