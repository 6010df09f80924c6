"""What a HorizontalPodAutoscaler would do: the formula, the tolerance, the windows and the policies, over scraped metrics.

Pure: figures and times come in, a number of pods comes out. A metric that is missing speaks for nothing: others may still
ask for more pods, nobody may ask for fewer.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

TOLERANCE = 0.1
SUFFIXES = {"m": 0.001, "k": 1_000.0, "": 1.0}

Figures = list[dict[str, float]]  # for each pod, its metrics by name; what is not there is missing


def quantity(text: str) -> float:
    """A number as Kubernetes writes it."""
    suffix = text[-1] if text[-1].isalpha() else ""
    return float(text.removesuffix(suffix)) * SUFFIXES[suffix]


class Scaler:
    """One autoscaler, by its manifest; `hurry` divides its windows, so that a test need not wait for minutes."""

    def __init__(self, manifest: dict[str, Any], hurry: float = 1.0) -> None:
        spec = manifest["spec"]
        self.least, self.most = spec["minReplicas"], spec["maxReplicas"]
        self.targets = dict(map(_target, spec["metrics"]))
        self._behaviour, self._hurry = spec["behavior"], hurry
        self._wanted: deque[tuple[float, int]] = deque(maxlen=1_000)
        self._changes: deque[tuple[float, int]] = deque(maxlen=1_000)

    def replicas(self, now: float, pods: Figures) -> int:
        """How many there should be now."""
        count = len(pods)
        wanted = self._raw(pods)
        if wanted is None:
            return count
        wanted = min(self.most, max(self.least, wanted))
        self._wanted.append((now, wanted))
        wanted = self._stable(now, count, wanted)
        wanted = self._limited(now, count, wanted)
        if wanted != count:
            self._changes.append((now, wanted - count))
        return wanted

    def _raw(self, pods: Figures) -> int | None:
        """The largest of what the metrics ask for; None if none is there, or only fewer are asked for and one is missing."""
        found: list[int] = []
        for name, target in self.targets.items():
            values = [pod[name] for pod in pods if name in pod]
            if len(values) == len(pods):
                ratio = sum(values) / len(values) / target
                found.append(len(pods) if abs(ratio - 1) <= TOLERANCE else math.ceil(len(pods) * ratio))
        if not found:
            return None
        wanted = max(found)
        return None if wanted < len(pods) and len(found) < len(self.targets) else wanted

    def _stable(self, now: float, count: int, wanted: int) -> int:
        """Down only to the most, and up only to the least, that was wanted within the window."""
        up, down = self._window("scaleUp"), self._window("scaleDown")
        least = min(number for at, number in self._wanted if now - at <= up)
        most = max(number for at, number in self._wanted if now - at <= down)
        return max(count, least) if wanted > count else min(count, most) if wanted < count else count

    def _limited(self, now: float, count: int, wanted: int) -> int:
        way = "scaleUp" if wanted > count else "scaleDown"
        sign = 1 if wanted > count else -1
        for policy in self._behaviour[way]["policies"]:
            period = policy["periodSeconds"] / self._hurry
            done = sum(sign * step for at, step in self._changes if now - at < period and step * sign > 0)
            left = max(0, policy["value"] - done)
            wanted = min(wanted, count + left) if sign > 0 else max(wanted, count - left)
        return wanted

    def _window(self, way: str) -> float:
        return float(self._behaviour[way]["stabilizationWindowSeconds"]) / self._hurry


def _target(metric: dict[str, Any]) -> tuple[str, float]:
    if metric["type"] == "Resource":
        return metric["resource"]["name"], metric["resource"]["target"]["averageUtilization"] / 100
    return metric["pods"]["metric"]["name"], quantity(metric["pods"]["target"]["averageValue"])
