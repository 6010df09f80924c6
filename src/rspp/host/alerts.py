"""An alert says by name that a measure has left the bounds that were set for it."""

from __future__ import annotations

import msgspec


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One crossing. `at_ms` is the time of the measure, on the clock that `of` names its source by."""

    name: str
    of: str  # a session, a pipeline, a host
    at_ms: float
    value: float
    limit: float
    unit: str
    samples: int
    message: str
