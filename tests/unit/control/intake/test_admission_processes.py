"""Several processes, a real store, and one of them killed in the middle of it: the burst is `bench/admission_burst.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[4]
BENCH = ROOT / "bench" / "admission_burst.py"


def burst(store: str, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--json", "--store", store, "--fence", "parent", *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["faults"] == [], done.stderr
    assert done.returncode == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "nats"])
def test_of_two_thousand_over_several_processes_exactly_a_hundred_get_in_and_a_kill_leaks_no_slot(
    store: str,
) -> None:
    found = burst(store, "--processes", "3", "--requests", "2000", "--slots", "100", "--seconds", "2")
    for name in ("burst", "burst_after_churn_and_kill"):
        assert found[name]["admitted"] == 100
        assert found[name]["refused"] == {"cp_admission_defer_capacity": 1_900}
        assert found[name]["without_retry_after"] == 0
    assert found["slots_left_by_the_killed"] > 0
    assert found["slots_written_after_all_let_go"] == 0
    assert 0 < found["most_held_at_a_time"] <= 100
