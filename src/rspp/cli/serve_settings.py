"""What one `rspp serve` was asked for, as its workers are handed it. References to secrets are in it, secrets are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.recorded import Choice
from rspp.contract.errors import MisuseError
from rspp.control.authority.members import TTL_MS
from rspp.timeline.redaction.policy import RedactionPolicy

SESSIONS_MAX: Final = 200


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
    # Of a worker that serves the control plane's pipelines:
    dev: bool = False  # everybody is let in; this machine's own address alone
    default_pipeline: str | None = None
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
    verbose: bool = False
    quiet: bool = False

    @property
    def choice(self) -> Choice:
        return Choice(
            data=Path(self.data),
            level=self.record_level,
            sample=self.sample,
            policy=self.policy,
            store=self.recordings,
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
