"""Hostile questions are refused before anything of them is answered, and in time that their length bounds."""

from __future__ import annotations

import time

import pytest
from graphql import get_introspection_query

from rspp.contract.errors import LimitReached, PeerFault, RsppError
from rspp.server.graphql.limits import (
    COST_MAX,
    DEPTH_MAX,
    OPERATIONS_MAX,
    ROOT_FIELDS_MAX,
    TOKENS_MAX,
    checked,
)

ROUND_AND_ROUND = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"


def nested(depth: int) -> str:
    return "{a" * depth + "}" * depth


def doubling(times: int) -> str:
    """Each fragment spreads the next one twice: so many words, and two to the power of them fields."""
    parts = [f"fragment f{n} on Q {{ a: x {{ ...f{n + 1} }} b: x {{ ...f{n + 1} }} }}" for n in range(times)]
    return "{ ...f0 } " + " ".join(parts) + f" fragment f{times} on Q {{ id }}"


HOSTILE = {
    "deep": (nested(DEPTH_MAX + 1), "query_too_deep"),
    "deeper than a parser's stack": (nested(20_000), "query_too_deep"),
    "deep lists": ("{a(b:" + "[" * 500 + "]" * 500 + ")}", "query_too_deep"),
    "many words": ("{" + "a " * (TOKENS_MAX + 1) + "}", "query_too_large"),
    "many aliases": (
        "{" + " ".join(f"a{n}: health {{ level }}" for n in range(ROOT_FIELDS_MAX + 1)) + "}",
        "query_too_large",
    ),
    "dear aliases": (
        "mutation {" + " ".join(f'r{n}: replay(tenant:"a",session:"b"){{same}}' for n in range(6)) + "}",
        "query_too_large",
    ),
    "aliases in a fragment": (
        "{ ...all } fragment all on Query {" + " ".join(f"a{n}: me {{ id }}" for n in range(30)) + "}",
        "query_too_large",
    ),
    "fragments that double": (doubling(12), "query_too_large"),
    "fragments deep inside": (doubling(40), "query_too_deep"),
    "a chain of fragments": (
        "{ ...f0 }" + "".join(f"fragment f{n} on Q{{...f{n + 1}}}" for n in range(240)) + "fragment f240 on Q{id}",
        "query_too_large",
    ),
    "many operations": (" ".join(f"query q{n} {{ me {{ id }} }}" for n in range(OPERATIONS_MAX + 1)), "query_too_large"),
    "a fragment of itself": ("{ ...a } fragment a on Query { me { id } ...a }", "query_invalid"),
    "two of each other": ("{ ...a } fragment a on Q { ...b } fragment b on Q { ...a }", "query_invalid"),
    "the schema round and round": (ROUND_AND_ROUND, "query_too_deep"),
    "no query": ("", "query_invalid"),
    "half a query": ("{ me { id ", "query_invalid"),
    "bytes": ("\x00\x01\udcff", "query_invalid"),
    "an endless string": ('{ a(b: "' + "x" * 60_000, "query_invalid"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_question_is_refused_with_its_code_and_soon(name: str) -> None:
    query, code = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(RsppError) as refused:
        checked(query)
    assert refused.value.code == code
    assert isinstance(refused.value, LimitReached if code != "query_invalid" else PeerFault)
    assert time.process_time() - began < 1.0


def test_what_consoles_and_tools_ask_is_within_the_limits() -> None:
    checked(get_introspection_query(descriptions=True))
    checked(
        "{ me { id } health { level reasons { code } surfaces { surface reasons { code } } } actions { id } }"
    )
    checked("query A { me { id } } query B { me { id } }")
    checked(nested(DEPTH_MAX))


def test_a_fragment_costs_as_often_as_it_is_spread() -> None:
    fields = " ".join(f"f{n}" for n in range(COST_MAX // 10))
    fragment = f"fragment f on Q {{ {fields} }}"
    spread = " ".join(f"a{n}: x {{ ...f }}" for n in range(9))
    checked(f"{{ {spread} }} {fragment}")
    with pytest.raises(LimitReached, match="costs"):
        checked(f"{{ {spread} z: x {{ ...f }} }} {fragment}")


def test_a_page_costs_what_is_asked_for_of_it_however_it_is_said() -> None:
    many = " ".join(f'a{n}: rows(surface: "s", first: $n) {{ total }}' for n in range(10))
    checked("query($n: Int!) {" + many + "}", {"n": 100})
    checked("query($n: Int! = 100) {" + many + "}")
    for query, variables in (
        ("query($n: Int!) {" + many + "}", {"n": 1_000}),
        ("query($n: Int! = 1000) {" + many + "}", {}),
        ("query($n: Int!) {" + many + "}", {"n": 1_000.0}),
        ("query($n: Int!) {" + many + "}", {"n": 1e300}),
        ("{" + many.replace("$n", "1000") + "}", {}),
        ("{ ...f } fragment f on Query {" + many.replace("$n", "9" * 30) + "}", {}),
    ):
        with pytest.raises(LimitReached, match="costs"):
            checked(query, variables)


def test_what_reads_many_rows_costs_more_than_a_word_and_a_word_of_the_same_name_does_not() -> None:
    for field in (
        "load { sessions }",
        "providers { name }",
        'pipeline(name: "p") { text }',
        "work { state }",
    ):
        checked("{" + " ".join(f"a{n}: {field}" for n in range(20)) + "}")
        inner = " ".join(f"b{n}: level" for n in range(COST_MAX // 2))
        with pytest.raises(LimitReached, match="costs"):
            checked("{" + " ".join(f"a{n}: {field}" for n in range(19)) + f" health {{ {inner} }} }}")
    words = " ".join(f"p{n}: pipeline" for n in range(100))
    checked(f"{{ sessions {{ items {{ {words} }} }} }}")
