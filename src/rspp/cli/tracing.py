"""`--otlp`, `--trace-sample`, `--trace-content`: whether calls are traced, and to where; `--in-band-metrics`: what they say of
their own speed among their events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.words import InBand
from rspp.host.host import Host
from rspp.host.watching import Watches
from rspp.timeline.records import Span
from rspp.timeline.redaction.forms import without_secrets
from rspp.timeline.redaction.patterns import find

if TYPE_CHECKING:
    from rspp.adapters.telemetry.otlp import OtlpTraces

ONE_IN_MAX: Final = 1_000_000
Command = TypeVar("Command", bound=Callable[..., Any])


class Tracing(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for: without an address nothing is traced; what each session measures of itself in its own stream."""

    otlp: str = ""
    trace_sample: int = 1
    trace_content: bool = False
    in_band_metrics: InBand = InBand.TURNS


def tracing_options(command: Command) -> Command:
    """The options, given to the command by their names."""
    for option in (
        click.option(
            "--in-band-metrics",
            type=click.Choice([one.value for one in InBand]),
            default=InBand.TURNS.value,
            show_default=True,
            callback=lambda _, __, word: InBand(word),
            help="Metrics among a call's own events: a turn's first output, or of all nodes and edges.",
        ),
        click.option("--trace-content", is_flag=True, help="Words into the spans as well, masked."),
        click.option(
            "--trace-sample",
            type=click.IntRange(1, ONE_IN_MAX),
            default=1,
            show_default=True,
            metavar="N",
            help="Trace one session in N.",
        ),
        click.option(
            "--otlp",
            default="",
            metavar="URL",
            envvar="RSPP_OTLP",
            help="Send traces to this OpenTelemetry collector (OTLP over HTTP).",
        ),
    ):
        command = option(command)
    return command


class Traces:
    """The traces of one process, if it makes any."""

    def __init__(self, asked: Tracing, instance: str = "") -> None:
        self._made: OtlpTraces | None = None
        self.in_band = asked.in_band_metrics
        if asked.otlp:
            # Half a second of imports that most runs do not need.
            from rspp.adapters.telemetry.otlp import OtlpTraces  # noqa: PLC0415

            content = masked if asked.trace_content else None
            self._made = OtlpTraces(asked.otlp, one_in=asked.trace_sample, content=content, instance=instance)

    @property
    def watches(self) -> tuple[Watches, ...]:
        return () if self._made is None else (self._made,)

    def count_in(self, host: Host) -> None:
        if self._made is not None:
            self._made.count_in(host.meters)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()


@contextmanager
def traces(asked: Tracing, instance: str = "") -> Iterator[Traces]:
    """Raises `click.UsageError` for an address that is none."""
    try:
        made = Traces(asked, instance)
    except MisuseError as error:
        raise click.UsageError(f"--otlp: {error.message}") from error
    try:
        yield made
    finally:
        made.close()


def masked(text: str) -> str:
    """Words without personal data and secrets."""
    return without_secrets(_without(text, find(text)))


def without_personal(text: str) -> str:
    """Words without personal data, in which names and numbers of sessions stay."""
    return _without(text, [span for span in find(text) if span.kind != "secret"])


def _without(text: str, spans: Iterable[Span]) -> str:
    done, at = [], 0  # bounded: by the text
    for span in spans:
        done += [text[at : span.start], f"[{span.kind}]"]
        at = span.end
    return "".join([*done, text[at:]])
