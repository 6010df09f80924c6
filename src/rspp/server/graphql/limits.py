"""What a question may cost is counted before anything of it is answered: its words, its depth, its fields with fragments unfolded.

Counting is linear in the text, whatever it says: nesting is counted on the words before they are parsed, since a parser follows
it with its own stack, and a fragment is counted once, however often it is spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    Lexer,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
    VariableNode,
    parse,
)

from rspp.contract.errors import LimitReached, PeerFault

BODY_BYTES_MAX: Final = 65_536
TOKENS_MAX: Final = 2_000
# The usual question for the schema itself is 13 deep.
DEPTH_MAX: Final = 15
# Braces, brackets and parentheses that are open at once, in the text.
NESTING_MAX: Final = 32
OPERATIONS_MAX: Final = 10
# One fragment in another is a step of our own stack, too.
FRAGMENTS_MAX: Final = 50
ROOT_FIELDS_MAX: Final = 20
COST_MAX: Final = 1_000
# What a schema says of itself leads round in a circle: of these, so many may be inside each other.
ROUND: Final = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
ROUND_MAX: Final = 2
# A field costs 1; these read or compute more, and a page as much again as is asked for of it. A mere word of the same name,
# which holds nothing and is given nothing, is a field like any other: a session's `pipeline`.
COSTS: Final[Mapping[str, int]] = {
    "replay": 200,
    "diff": 200,
    "session": 50,
    "timeline": 50,
    "pipelines": 50,
    "pipeline": 25,
    "providers": 25,
    "sessions": 25,
    "rows": 25,
    "row": 10,
    "work": 25,
    "workSession": 25,
    "load": 25,
    "journal": 25,
    "journalStatus": 25,
    "health": 25,
    "actions": 25,
    "act": 25,
    "openRoute": 25,
}
FIRST: Final = "first"
# What a page has where nobody says.
PAGES: Final[Mapping[str, int]] = {"rows": 100, "journal": 100, "sessions": 50, "timeline": 500}
ENTRIES_PER_COST: Final = 10
# Beyond it all numbers are too large alike.
NUMBER_MAX: Final = 999_999_999
_OPENS: Final = frozenset({TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L})
_CLOSES: Final = frozenset({TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R})


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What one selection comes to."""

    depth: int = 0
    cost: int = 0
    fields: int = 0  # right here, fragments unfolded
    round: int = 0  # how often it goes round in the schema's own circle


def checked(query: str, variables: Mapping[str, Any] | None = None) -> DocumentNode:
    """The document; raises `PeerFault` for what is no GraphQL, `LimitReached` for what is too much of it."""
    try:
        _check_words(query)
        document = parse(query, no_location=False, max_tokens=TOKENS_MAX)
    except GraphQLError as error:
        raise PeerFault("query_invalid", _place(error)) from error
    _check_sizes(document, variables or {})
    return document


def _place(error: GraphQLError) -> str:
    at = f" (line {error.locations[0].line}, column {error.locations[0].column})" if error.locations else ""
    return f"{error.message}{at}"


def _check_words(query: str) -> None:
    lexer = Lexer(Source(query))
    open_now = tokens = 0
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        tokens += 1
        open_now += (token.kind in _OPENS) - (token.kind in _CLOSES)
        if tokens > TOKENS_MAX:
            raise LimitReached("query_too_large", f"a query has at most {TOKENS_MAX} words")
        if open_now > NESTING_MAX:
            raise LimitReached("query_too_deep", f"at most {NESTING_MAX} braces may be open at once")


def _check_sizes(document: DocumentNode, variables: Mapping[str, Any]) -> None:
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if len(operations) > OPERATIONS_MAX:
        raise LimitReached("query_too_large", f"a document has at most {OPERATIONS_MAX} operations")
    fragments = {
        one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
    }
    if len(fragments) > FRAGMENTS_MAX:
        raise LimitReached("query_too_large", f"a document has at most {FRAGMENTS_MAX} fragments")
    for one in operations:
        counting = _Counting(fragments, _numbers(one, variables))
        size = counting.size(one.selection_set)
        if size.depth > DEPTH_MAX or size.round > ROUND_MAX:
            raise LimitReached("query_too_deep", f"a query is at most {DEPTH_MAX} fields deep")
        if size.fields > ROOT_FIELDS_MAX:
            raise LimitReached("query_too_large", f"a query asks at most {ROOT_FIELDS_MAX} things at once")
        if size.cost > COST_MAX:
            message = f"this query costs {min(size.cost, COST_MAX * 1_000)}, and {COST_MAX} is the most; ask for less at once"
            raise LimitReached("query_too_large", message)


def _numbers(operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> dict[str, int]:
    """The variables that are numbers: as they were given, or as the operation says."""
    found: dict[str, int] = {}
    for one in operation.variable_definitions or ():
        name, default = one.variable.name.value, one.default_value
        given = variables.get(name)
        if isinstance(given, int | float):  # 1000.0 is a whole number to GraphQL, too
            found[name] = int(min(max(given, 0), NUMBER_MAX))
        elif isinstance(default, IntValueNode):
            found[name] = max(0, int(default.value[:9]))
    return found


class _Counting:
    """Sizes of selections; each fragment's is counted once."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], numbers: Mapping[str, int]) -> None:
        self._fragments, self._numbers = fragments, numbers
        self._known: dict[str, Size] = {}  # bounded: by the document's fragments
        self._within: set[str] = set()

    def size(self, selections: SelectionSetNode | None) -> Size:
        return _together(self._of(one) for one in (selections.selections if selections else ()))

    def _of(self, one: SelectionNode) -> Size:
        if isinstance(one, FieldNode):
            below, name = self.size(one.selection_set), one.name.value
            return Size(
                depth=below.depth + 1,
                cost=below.cost + _cost(one) + self._page(one) // ENTRIES_PER_COST,
                fields=1,
                round=below.round + (name in ROUND),
            )
        if isinstance(one, InlineFragmentNode):
            return self.size(one.selection_set)
        assert isinstance(one, FragmentSpreadNode)
        return self._of_fragment(one.name.value)

    def _page(self, field: FieldNode) -> int:
        """How many entries are asked for; 0 for what is no page."""
        unsaid = PAGES.get(field.name.value, 0)
        said = next((one.value for one in field.arguments or () if one.name.value == FIRST), None)
        if isinstance(said, IntValueNode):
            return max(0, int(said.value[:9]))
        if isinstance(said, VariableNode):
            return self._numbers.get(said.name.value, unsaid)
        return unsaid

    def _of_fragment(self, name: str) -> Size:
        fragment = self._fragments.get(name)
        if fragment is None:
            return Size()  # the schema's own check tells it
        if name in self._within:
            raise PeerFault("query_invalid", "a fragment leads back to itself")
        if name not in self._known:
            self._within.add(name)
            self._known[name] = self.size(fragment.selection_set)
            self._within.discard(name)
        return self._known[name]


def _cost(field: FieldNode) -> int:
    return COSTS.get(field.name.value, 1) if field.selection_set or field.arguments else 1


def _together(sizes: Iterable[Size]) -> Size:
    depth = cost = fields = rounds = 0
    for one in sizes:
        depth, rounds = max(depth, one.depth), max(rounds, one.round)
        cost, fields = cost + one.cost, fields + one.fields
    return Size(depth=depth, cost=cost, fields=fields, round=rounds)
