"""What one `rspp serve` was asked for, as its workers are handed it. References to secrets are in it, secrets are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.recorded import DISK_MB, Choice
from rspp.cli.tracing import Tracing
from rspp.contract.errors import MisuseError
from rspp.contract.words import InBand
from rspp.control.authority.members import TTL_MS
from rspp.timeline.redaction.policy import RedactionPolicy

SESSIONS_MAX: Final = 200
SERVED_STORE_FILE: Final = "serve.db"


class Work(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every worker serves, and as whom."""

    store: str
    pipelines: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    host: str = "127.0.0.1"  # where the workers' own ports are
    advertise: str = ""  # a worker's own address as others reach it, with `{port}` in it
    region: str = "local"
    zone: str = ""
    labels: dict[str, str] = {}
    ttl_ms: int = TTL_MS
    sessions_max: int = SESSIONS_MAX
    token: str | None = None  # a reference
    origins: tuple[str, ...] = ()  # of pages that may open calls, besides the workers' own
    # Of a worker that serves the control plane's pipelines:
    dev: bool = False  # everybody is let in; this machine's own address alone
    default_pipeline: str | None = None
    beside: str | None = None  # in dev mode alone: the folder whose modules pipelines may name
    audiences: tuple[str, ...] = ()  # further addresses that route tokens may be for
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None  # callers show a certificate of this authority
    direct_ports: tuple[
        int, ...
    ] = ()  # of the processes' own sockets: one each and one more; without any, those that are free
    data: str
    record_level: str | None = None
    sample: float = 1.0
    policy: RedactionPolicy = RedactionPolicy()
    recordings: str | None = None  # the address of the store that they are exported to
    disk_mb: float = DISK_MB
    # To which collector of traces, one session in how many, and with words or without.
    otlp: str = ""
    trace_sample: int = 1
    trace_content: bool = False
    in_band_metrics: InBand = InBand.TURNS
    verbose: bool = False
    quiet: bool = False

    @property
    def tracing(self) -> Tracing:
        return Tracing(
            otlp=self.otlp,
            trace_sample=self.trace_sample,
            trace_content=self.trace_content,
            in_band_metrics=self.in_band_metrics,
        )

    @property
    def choice(self) -> Choice:
        return Choice(
            data=Path(self.data),
            level=self.record_level,
            sample=self.sample,
            policy=self.policy,
            store=self.recordings,
            disk_mb=self.disk_mb,
        )


def as_json(work: Work) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(work)
    return found


def as_work(given: dict[str, Any]) -> Work:
    """A worker's side of it; raises where supervisor and worker are not of one version."""
    try:
        return msgspec.convert(given, Work)
    except msgspec.ValidationError as error:
        raise MisuseError("type_mismatch", f"this is no work of this version: {error}") from error
