"""The schema that is served is the one that the web was built against."""

from __future__ import annotations

import re
from pathlib import Path

from graphql import GraphQLSchema, build_schema, lexicographic_sort_schema, print_schema

from rspp.contract.surface import Level
from rspp.server.graphql.schema import make_schema
from rspp.server.graphql.types_state import LevelWord

AGREED = Path(__file__).parents[4] / "web" / "schema.graphql"
DESCRIPTION = re.compile(r'""".*?"""\s*|@specifiedBy\([^)]*\)', re.DOTALL)


def meaning(schema: GraphQLSchema) -> list[str]:
    """Names, types, nullability and defaults, in one order; what people read is left out, and null is no default."""
    text = DESCRIPTION.sub("", print_schema(lexicographic_sort_schema(schema))).replace(" = null", "")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def served() -> str:
    return make_schema().as_str()


def test_the_schema_that_is_served_means_what_was_agreed_with_the_web() -> None:
    assert meaning(build_schema(served())) == meaning(build_schema(AGREED.read_text()))


def test_a_field_more_a_null_more_and_another_default_are_each_noticed() -> None:
    agreed = AGREED.read_text()
    ours = meaning(build_schema(served()))
    for old, new in (
        ("health: Health!", "health: Health"),
        ("first: Int! = 50", "first: Int! = 51"),
        ("work: [Row!]!", "works: [Row!]!"),
        ("NOTICE DEGRADED", "NOTICE"),
    ):
        assert old in agreed
        assert ours != meaning(build_schema(agreed.replace(old, new)))


def test_levels_are_those_of_the_runtime() -> None:
    assert {one.name: one.value for one in LevelWord} == {one.name: one.value for one in Level}
