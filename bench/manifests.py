"""What a manifest costs: an update, an update that a store is told of, opening and proving a long trace.

    python bench/manifests.py [--json] [--updates 200] [--lines 3000]

Every update is on disk before it counts (line synced, file replaced), so the disk of the machine is in the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from rspp.manifest import Manifest, Tells
from rspp.manifest.document import Ran, Routing
from rspp.manifest.updates import RoleTold, Routed, StepBegun
from rspp.server.work import WorkTeller


def begun(folder: Path, tells: Tells | None = None) -> Manifest:
    """A session with a step that is routed: from here on roles can be told."""
    folder.mkdir()
    manifest = Manifest.create(folder / "RUNTIME_MANIFEST.yaml", session="bench", tells=tells)
    manifest.say(StepBegun(goal="Measure what an update costs"))
    manifest.say(Routed(routing=Routing(REQUIRED_ROLES=("VAL",))))
    return manifest


def updates(manifest: Manifest, count: int) -> list[float]:
    """Milliseconds of each of so many updates."""
    spans = []
    for number in range(count):
        since = perf_counter()
        manifest.say(RoleTold(role="VAL", status=Ran.RAN, notes=f"time {number}"))
        spans.append((perf_counter() - since) * 1000)
    return spans


def spread(spans: list[float]) -> dict[str, float]:
    ordered = sorted(spans)
    return {
        "p50_ms": round(statistics.median(ordered), 2),
        "p95_ms": round(ordered[int(len(ordered) * 0.95) - 1], 2),
        "max_ms": round(ordered[-1], 2),
    }


def measured(folder: Path, count: int, lines: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cpu = process_time()
    found["update"] = spread(updates(begun(folder / "plain"), count))
    found["update"]["cpu_ms"] = round((process_time() - cpu) * 1000 / count, 2)
    with WorkTeller(f"sqlite://{folder}/told.db") as teller:
        found["update told to a store"] = spread(updates(begun(folder / "told", teller), count))
    long = begun(folder / "long")
    updates(long, lines)
    found[f"update after {lines} lines"] = spread(updates(long, count))
    since = perf_counter()
    again = Manifest(long.path)
    updates(again, 1)
    found["first update of another process"] = {"ms": round((perf_counter() - since) * 1000, 1)}
    since = perf_counter()
    proven = again.validate()
    found["validate"] = {"ms": round((perf_counter() - since) * 1000, 1), "ok": proven.ok}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--lines", type=int, default=3_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), asked.updates, asked.lines)
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(f"{name:34}", ", ".join(f"{what} {value}" for what, value in figures.items()))


if __name__ == "__main__":
    main()
