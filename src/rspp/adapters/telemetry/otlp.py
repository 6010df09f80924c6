"""Spans go to an OpenTelemetry collector over OTLP/HTTP, from a thread of their own; who is down keeps nobody waiting.

    session's watcher -> queue of 256 spans -> thread -> POST /v1/traces, 200 ms at most

A queue that is full takes nothing more, an export that fails is not tried again: both are counted. One session in N is traced,
by a hash of its id, so that whichever process a session comes to decides alike.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from rspp import __version__
from rspp.adapters.telemetry.spans import Redact, SessionSpans, Span, messages
from rspp.contract.errors import MisuseError
from rspp.host.meters import Meters
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.telemetry")

QUEUE_SPANS_MAX: Final = 256
BATCH_SPANS_MAX: Final = 128
EXPORT_S: Final = 0.2
# After a failure; meanwhile what does not fit is dropped.
PAUSE_S: Final = 1.0
LOOK_S: Final = 0.5
CLOSE_S: Final = 1.0
PATH: Final = "/v1/traces"
_SCOPE: Final = InstrumentationScope("rspp", __version__)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class Exporter(Protocol):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...
    def shutdown(self) -> None: ...


def address_of(url: str) -> str:
    """Where spans are posted to; raises `MisuseError`. A collector's address alone means its usual path."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MisuseError("otlp_address", "a collector is addressed as http://HOST:PORT or https://HOST:PORT")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{PATH}"


def is_sampled(session_id: str, one_in: int) -> bool:
    digest = hashlib.sha256(session_id.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[8:16], "big") % max(1, one_in) == 0


class OtlpTraces:
    """One process's. It is a host's `Watches`; `close` is called once the host has stopped."""

    def __init__(
        self,
        url: str,
        *,
        one_in: int = 1,
        content: Redact | None = None,
        instance: str = "",
        exporter: Callable[[], Exporter] | None = None,
    ) -> None:
        """`content` is what words pass through before they are told; without it no words are."""
        self.address = address_of(url)
        self.exported = self.failed = self.dropped = 0
        self._one_in, self._content = one_in, content
        self._spans: deque[Span] = deque(maxlen=QUEUE_SPANS_MAX)
        named = {"service.name": "rspp", "service.version": __version__}
        self._resource = Resource.create({**named, **({"service.instance.id": instance} if instance else {})})
        self._make = exporter or (lambda: OTLPSpanExporter(endpoint=self.address, timeout=EXPORT_S))
        self._down = False
        self._wake, self._stopping = threading.Event(), threading.Event()
        # Each failure would be a line of that library's, with a traceback; ours says it once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    # ---- on the loop's thread ------------------------------------------------------------------------------------

    def __call__(self, request: OpenRequest, graph: GraphDefinition) -> SessionSpans | None:
        if not is_sampled(request.session_id, self._one_in):
            return None
        return SessionSpans(request, graph, self.put, words=self._content is not None)

    def put(self, span: Span) -> None:
        if len(self._spans) >= QUEUE_SPANS_MAX or self._stopping.is_set():
            self.dropped += 1
            return
        self._spans.append(span)
        self._wake.set()

    def count_in(self, meters: Meters) -> None:
        """Show with a host's figures what became of the spans."""
        exported, failed, dropped = (
            meters.counter("telemetry_spans_total", outcome=outcome)
            for outcome in ("exported", "failed", "dropped")
        )

        def gather() -> None:
            exported.value, failed.value, dropped.value = self.exported, self.failed, self.dropped

        meters.before(gather)

    def close(self) -> None:
        """Export what waits, as far as that can be done in a second."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(CLOSE_S)
        self.dropped += len(self._spans)
        self._spans.clear()

    # ---- on its own thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        exporter = self._make()
        while True:
            self._wake.wait(LOOK_S)
            self._wake.clear()
            while self._spans:
                batch = [self._spans.popleft() for _ in range(min(BATCH_SPANS_MAX, len(self._spans)))]
                self._export(exporter, batch)
                if self._down and self._stopping.wait(PAUSE_S):
                    break
            if self._stopping.is_set() and (self._down or not self._spans):
                exporter.shutdown()
                return

    def _export(self, exporter: Exporter, batch: list[Span]) -> None:
        try:
            result = exporter.export([_readable(one, self._resource, self._content) for one in batch])
        except Exception as error:  # noqa: BLE001 - supervised: whatever an exporter raises, sessions go on
            log.debug("an export raised %s", type(error).__name__)
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self.failed += len(batch)
        else:
            self.exported += len(batch)
        if failed is not self._down:
            self._down = failed
            log.warning("the collector of traces %s", "does not answer" if failed else "answers again")


def _readable(span: Span, resource: Resource, content: Redact | None) -> ReadableSpan:
    def context(span_id: int) -> SpanContext:
        return SpanContext(span.trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)

    said: dict[str, str] = {}
    if content is not None:
        told = (("gen_ai.input.messages", span.heard), ("gen_ai.output.messages", span.said))
        said = {name: messages(words, content) for name, words in told if words}
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=context(span.parent_id) if span.parent_id else None,
        resource=resource,
        attributes={**span.attributes, **said},
        events=[Event(name, timestamp=at) for name, at in span.marks],
        kind=SpanKind.CLIENT if span.client else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET),
        start_time=span.began,
        end_time=span.ended,
        instrumentation_scope=_SCOPE,
    )
