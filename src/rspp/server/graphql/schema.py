"""The schema as it is served, and its text as others read it."""

from __future__ import annotations

from typing import Any, Final

import strawberry
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from rspp.server.graphql.mutation import Mutation
from rspp.server.graphql.query import Query
from rspp.server.graphql.turns import InPieces

# A page asks the same questions again and again: so many are read and checked once. That was most of what a short one cost.
DOCUMENTS_MAX: Final = 64


class Schema(strawberry.Schema):
    """Errors are told and put into the log by the endpoint, which knows which of them are nobody's fault."""

    def process_errors(self, errors: Any, execution_context: ExecutionContext | None = None) -> None:
        """Nothing more."""


def make_schema() -> strawberry.Schema:
    """Names are camelCase outside; suggestions of names stay on, since whoever asks has shown a token."""
    return Schema(
        query=Query,
        mutation=Mutation,
        config=StrawberryConfig(batching_config=None),
        execution_context_class=InPieces,
        extensions=[
            lambda: ParserCache(maxsize=DOCUMENTS_MAX),
            lambda: ValidationCache(maxsize=DOCUMENTS_MAX),
        ],
    )
