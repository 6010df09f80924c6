"""A spec may come from anybody: whatever the bytes, only problems come out, and a graph only when there are none.

Run under any fuzzer that calls a function with bytes, or with mutations of the corpus: `python -m tests.fuzz.fuzz_spec 2000`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from rspp.spec import load
from tests.fuzz.mutation import mutate

CORPUS = Path(__file__).parents[1] / "specs"
EXAMPLES = Path(__file__).parents[2] / "examples"
PIECES = (
    b"&a ", b"*a", b"<<: ", b"!!x ", b"\x00", b"\xff", b"{", b"}", b"[", b"]", b": ", b"- ", b"\n", b"\t", b"'", b'"',
    b"? ", b"|\n", b">-\n", b"%YAML 9.9\n", b"---\n", b"...\n", b".nan", b"-1", b"1e999", b"null", b"~", b"\xc2\x85",
    b"\xe2\x80\xa8", b"#", b"@", b"`", b"999999999999999999999999", b"subgraph", b"merge", b"select", b"fallback: ",
)  # fmt: skip


def one_input(data: bytes) -> None:
    loaded = load(data.decode("utf-8", errors="replace"), file="<fuzz>")
    assert (loaded.graph is None) == bool(loaded.errors)
    for problem in loaded.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.code
        assert str(problem).startswith("<fuzz>:")


def seeds() -> list[bytes]:
    files = sorted(CORPUS.rglob("*.yaml")) + sorted(EXAMPLES.glob("*.yaml"))
    return [path.read_bytes() for path in files]


def run(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    start = seeds()
    for round_ in range(rounds):
        data = mutate(chance.choice(start), chance, PIECES, start)
        try:
            one_input(data)
        except Exception:
            sys.stderr.write(f"seed {seed}, round {round_}: {data!r}\n")
            raise


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
