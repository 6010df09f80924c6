"""Whatever the bytes, a decoder gives a value or a CodecError, and what it took is the same in both encodings.

Run under any fuzzer that calls a function with bytes, or with mutations of good messages:
`python -m tests.fuzz.fuzz_codec --seconds 60 --seed 1`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rspp.contract.codec import CodecError, decode_json, decode_msgpack, encode_json, encode_msgpack
from rspp.contract.codes import CODES
from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import Envelope, Event, Payload
from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.rules import check_decision, check_envelope
from rspp.contract.signals import SIGNALS
from tests.fuzz.mutation import mutate
from tests.unit.contract import samples

KINDS: Final[tuple[Any, ...]] = (
    Envelope, Event, Payload, DecisionOutcome, TurnEvidence, ResolvedTurnPlan, dict[str, object], object,
)  # fmt: skip
PIECES: Final = (
    b"\x00", b"\xff", b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\u", b"\\ud800", b"NaN", b"-Infinity", b"1e999",
    b"-0", b"18446744073709551616", b"null", b"true", b"0.", b"\x80", b"\x8f", b"\x9f", b"\xbf", b"\xc1", b"\xc4\x05",
    b"\xc6\xff\xff\xff\xff", b"\xc7\x01\x05", b"\xca\x7f\xc0\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", b"\xd6", b"\xd9\x05", b"\xdb",
    b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xa4type", b'"type":"audio"',
    b"\xaeschema_version\xa4v9.9", b'"schema_version":"v9.9",', b"[" * 64, b"\x91" * 64, b"\xed\xa0\x80", b"\xc2\x85",
)  # fmt: skip


def one_input(data: bytes) -> None:
    """Both decoders, each type; nothing but a CodecError may come out, and what went in must come out again."""
    for kind in KINDS:
        for decode, encode in ((decode_json, encode_json), (decode_msgpack, encode_msgpack)):
            _one(data, kind, decode, encode)


def _one(data: bytes, kind: Any, decode: Callable[..., Any], encode: Callable[[object], bytes]) -> None:
    try:
        value = decode(data, kind)
    except CodecError as error:
        _explained(error)
        return
    assert decode(encode(value), kind) == value
    # What was decoded may break every rule, but the rules must be able to say so.
    if isinstance(value, Envelope):
        check_envelope(value)
    elif isinstance(value, DecisionOutcome):
        check_decision(value)


def _explained(error: CodecError) -> None:
    assert error.code in CODES
    assert isinstance(error.path, str)
    assert error.message


def depth(value: object) -> int:
    """How deep containers nest in a plain value."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list | tuple):
        return 1 + max(map(depth, value), default=0)
    return 0


def seeds() -> list[bytes]:
    names = ("turn_open_proposed", "abort", "cancel", "drop_notice", "recording_level_downgraded")
    assert set(names) <= set(SIGNALS)
    records = [samples.text(), samples.audio(), samples.admit(), samples.evidence()]
    records += [samples.signal(name) for name in names]
    return [msgspec.json.encode(record) for record in records] + [
        encode_msgpack(record) for record in records
    ]


SEEDS: Final = tuple(seeds())


def run(rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    for round_ in range(rounds):
        data = mutate(chance.choice(SEEDS), chance, PIECES, SEEDS)
        try:
            one_input(data)
        except Exception:
            sys.stderr.write(f"seed {seed}, round {round_}: {data!r}\n")
            raise


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    end, seed, rounds = time.monotonic() + given.seconds, given.seed, 0
    while time.monotonic() < end:
        run(200, seed)
        seed, rounds = seed + 1, rounds + 200
    sys.stdout.write(f"{rounds} messages, seeds {given.seed} to {seed - 1}: only CodecError came out\n")


if __name__ == "__main__":
    main()
