"""Which rows of the feature table are proven, and by which tests.

A row is `proven` when every test that is marked with its id passed in its last run, `failing` when one of them
did not, `not run` when there is no outcome of one yet (or it was skipped), and `open` when no test claims it.

    python tools/features.py [--area kernel] [--json] [--run]

Exit status: 0, or 1 when a row is failing or the tests cannot be collected.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "features.tsv"
COLUMNS = ["id", "area", "phase", "must", "proof"]

# Where tests/conftest.py keeps {test: outcome}. pytest puts each cache value into a file of this name under v/.
OUTCOMES_KEY = "rspp/proof-outcomes"
OUTCOMES_FILE = ROOT / ".pytest_cache" / "v" / OUTCOMES_KEY

# From best to worst: of a test's phases (setup, call, teardown), and of a row's tests, the worst one counts.
OUTCOMES = ("passed", "skipped", "failed")
STATES = ("proven", "failing", "not run", "open")


class Row(NamedTuple):
    """One line of docs/features.tsv."""

    id: str
    area: str
    phase: str
    must: str
    proof: str


class Standing(NamedTuple):
    """Where a row stands, and the tests that claim to prove it."""

    row: Row
    state: str
    tests: tuple[str, ...]


def read_rows(table: Path = TABLE) -> list[Row]:
    """Every row has five columns and an id of its own."""
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    if header.split("\t") != COLUMNS:
        raise ValueError(f"{table.name}:1: the columns must be {', '.join(COLUMNS)}")
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{table.name}:{number}: {len(cells)} columns, not {len(COLUMNS)}")
        row = Row(*cells)
        if row.id in rows:
            raise ValueError(f"{table.name}:{number}: {row.id} is there twice")
        rows[row.id] = row
    return list(rows.values())


def worse(one: str | None, other: str) -> str:
    return other if one is None else max(one, other, key=OUTCOMES.index)


def assess(
    rows: Iterable[Row], proofs: Mapping[str, Sequence[str]], outcomes: Mapping[str, str]
) -> list[Standing]:
    """`proofs` names the rows of each test, `outcomes` says how a test's last run went."""
    tests_of: dict[str, list[str]] = {}
    for test, ids in proofs.items():
        for feature_id in ids:
            tests_of.setdefault(feature_id, []).append(test)
    return [
        Standing(row, _state(tests_of.get(row.id, ()), outcomes), tuple(sorted(tests_of.get(row.id, ()))))
        for row in rows
    ]


def _state(tests: Sequence[str], outcomes: Mapping[str, str]) -> str:
    if not tests:
        return "open"
    known = [outcomes.get(test, "skipped") for test in tests]
    return {"passed": "proven", "skipped": "not run", "failed": "failing"}[max(known, key=OUTCOMES.index)]


def collect_proofs() -> dict[str, list[str]]:
    """Ask pytest which test proves which rows, without running one."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "proofs.json"
        done = _pytest("--collect-only", "-q", "-q", f"--proofs-to={target}", capture=True)
        if done.returncode not in {0, 5}:  # 5: there is no test yet
            sys.stderr.write(done.stdout + done.stderr)
            raise SystemExit(1)
        proofs: dict[str, list[str]] = json.loads(target.read_text(encoding="utf-8"))
        return proofs


def read_outcomes() -> dict[str, str]:
    if not OUTCOMES_FILE.exists():
        return {}
    outcomes: dict[str, str] = json.loads(OUTCOMES_FILE.read_text(encoding="utf-8"))
    return outcomes


def _pytest(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=capture, check=False)


def as_json(standings: Sequence[Standing]) -> str:
    rows = [
        {"id": row.id, "area": row.area, "phase": row.phase, "state": state, "tests": list(tests)}
        for row, state, tests in standings
    ]
    totals = Counter(standing.state for standing in standings)
    document = {"rows": rows, "totals": {state: totals[state] for state in STATES}}
    return json.dumps(document, indent=2, sort_keys=True)


def as_text(standings: Sequence[Standing]) -> str:
    """Area by area: the claimed rows with their tests, then the open rows in one line."""
    lines: list[str] = []
    for area in dict.fromkeys(standing.row.area for standing in standings):
        here = [standing for standing in standings if standing.row.area == area]
        lines.append(f"{area}: {_totals(here)}")
        for row, state, tests in here:
            if tests:
                lines.append(f"  {row.id}  {state}")
                lines.extend(f"         {test}" for test in tests)
        if unclaimed := [row.id for row, state, _ in here if state == "open"]:
            lines.append(f"  open   {' '.join(unclaimed)}")
    lines.append(f"all {len(standings)} rows: {_totals(standings)}")
    return "\n".join(lines)


def _totals(standings: Sequence[Standing]) -> str:
    counts = Counter(standing.state for standing in standings)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="features", description="Which feature rows are proven by tests.")
    parser.add_argument("--area", help="only this area")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--run", action="store_true", help="run the proving tests first")
    options = parser.parse_args(arguments)

    rows = read_rows()
    areas = sorted({row.area for row in rows})
    if options.area and options.area not in areas:
        parser.error(f"there is no area {options.area}; the areas are {', '.join(areas)}")
    proofs = collect_proofs()
    if options.run and proofs:
        done = _pytest("-q", "-m", "proves", capture=options.json)
        if done.returncode not in {0, 1}:  # 1: a test failed, which the table below says row by row
            return 1
    standings = [
        standing
        for standing in assess(rows, proofs, read_outcomes())
        if options.area in {None, standing.row.area}
    ]
    print(as_json(standings) if options.json else as_text(standings))
    return 1 if any(standing.state == "failing" for standing in standings) else 0


if __name__ == "__main__":
    sys.exit(main())
