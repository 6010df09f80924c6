"""Break a fleet, round after round, and write down what became of its calls.

    python -m tests.chaos --rounds 50 --calls 200 --report chaos.md

Needs root, for network namespaces. Exit status: 0 nothing happened that must not, 1 something did, 2 it cannot be run here.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random

import msgspec

from tests.chaos.fleet import Fleet
from tests.chaos.network import usable
from tests.chaos.rounds import FAULTS, Chaos, Report, Round, as_text


def told(one: Round) -> None:
    sys.stdout.write(
        f"round {one.number}: {one.fault} at {one.target}: {one.moved} calls moved, "
        f"back after {one.takeover_ms_max} ms, all answered after {one.settled_s} s {one.problems or ''}\n"
    )
    sys.stdout.flush()


async def run(options: argparse.Namespace, folder: Path) -> Report:
    random = Random(options.seed)
    faults = [random.choice(options.fault or FAULTS) for _ in range(options.rounds)]
    async with Fleet(folder, options.machines, options.ttl_ms) as fleet:
        return await Chaos(fleet, options.calls, options.seed).run(faults, told)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--machines", type=int, default=4)
    parser.add_argument("--ttl-ms", type=int, default=15_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; again for another")
    parser.add_argument("--report", type=Path, help="a page for people; .json beside it for programs")
    parser.add_argument("--folder", type=Path, help="keep logs and data here")
    options = parser.parse_args()
    why = usable()
    if why is not None:
        sys.stderr.write(f"cannot be run here: {why}\n")
        return 2
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(run(options, options.folder))
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = asyncio.run(run(options, Path(folder)))
    text = as_text(report)
    sys.stdout.write(text)
    if options.report is not None:
        options.report.write_text(text)
        options.report.with_suffix(".json").write_bytes(msgspec.json.encode(report))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
