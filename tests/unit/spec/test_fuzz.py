"""Whatever is done to a spec, only problems come out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_spec import one_input, run


def test_mutations_of_the_corpus_bring_out_only_problems() -> None:
    run(rounds=400, seed=20_260_101)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_bring_out_only_problems(data: bytes) -> None:
    one_input(data)
