"""From audio in to audio out, against the target that a pipeline's profile names; one alert for each rise above it.

The p95 of the last `alert_window_turns` turns is held to `end_to_end_p95_ms * alert_ratio`. Of fewer than `SAMPLES_MIN` turns
the p95 is the largest, so nobody is told of one slow beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from rspp.host.alerts import Alert
from rspp.spec.graph import Targets
from rspp.timeline.gates.report import NS_PER_MS, EndToEnd, percentile, percentile_ms

ALERT: Final = "end_to_end_p95_above_target"
SAMPLES_MIN: Final = 20


class Rolling:
    """The p95 of the last turns; tells once when it rises above the limit, and is armed again when it falls back."""

    def __init__(self, pipeline: str, targets: Targets) -> None:
        self.limit_ms = targets.end_to_end_p95_ms * targets.alert_ratio
        self._pipeline = pipeline
        self._spans: deque[int] = deque(maxlen=targets.alert_window_turns)
        self._above = False

    def take(self, at_ms: float, span_ns: int) -> Alert | None:
        self._spans.append(span_ns)
        p95 = percentile(self._spans, 0.95)
        assert p95 is not None
        enough = len(self._spans) >= min(SAMPLES_MIN, self._spans.maxlen or SAMPLES_MIN)
        above, was = enough and p95 / NS_PER_MS > self.limit_ms, self._above
        self._above = above
        if not above or was:
            return None
        return Alert(
            name=ALERT,
            of=self._pipeline,
            at_ms=at_ms,
            value=p95 / NS_PER_MS,
            limit=self.limit_ms,
            unit="ms",
            samples=len(self._spans),
            message=f"p95 of the last {len(self._spans)} turns is {p95 / NS_PER_MS:.0f} ms,"
            f" above {self.limit_ms:.0f}",
        )


def judge(
    pipeline: str, targets: Targets, samples: Iterable[tuple[float, int]]
) -> tuple[EndToEnd, list[Alert]]:
    """All samples of one pipeline, (when, span), in the order of their times."""
    rolling, alerts, spans = Rolling(pipeline, targets), [], []
    for at_ms, span in sorted(samples):
        spans.append(span)
        alert = rolling.take(at_ms, span)
        if alert is not None:
            alerts.append(alert)
    p95 = percentile_ms(spans, 0.95)
    found = EndToEnd(
        pipeline=pipeline,
        p50_ms=percentile_ms(spans, 0.50),
        p95_ms=p95,
        samples=len(spans),
        target_p95_ms=targets.end_to_end_p95_ms,
        alert_above_ms=rolling.limit_ms,
        window_turns=targets.alert_window_turns,
        met=p95 is not None and p95 <= targets.end_to_end_p95_ms,
    )
    return found, alerts
