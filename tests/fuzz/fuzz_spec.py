"""A spec may come from anybody: whatever the bytes, only problems come out, and a graph only when there are none.

Run under any fuzzer that calls a function with bytes, or with mutations of the corpus: `python tests/fuzz/fuzz_spec.py 2000`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from rspp.spec import load

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


def mutate(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A few cuts, repeats, swaps and insertions, as a careless editor or a hostile one would make them."""
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        to = min(len(data), at + chance.randint(0, 40))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + data[to:]
        elif kind == 1:
            data = data[:to] + data[at:]
        elif kind == 2:
            data = data[:at] + chance.choice(PIECES) + data[at:]
        elif kind == 3:
            other = chance.choice(others)
            cut = chance.randint(0, len(other))
            data = data[:at] + other[cut : cut + 60] + data[to:]
        else:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return data


def run(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    start = seeds()
    for round_ in range(rounds):
        data = mutate(chance.choice(start), chance, start)
        try:
            one_input(data)
        except Exception:
            sys.stderr.write(f"seed {seed}, round {round_}: {data!r}\n")
            raise


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
