"""POST /graphql: one question at a time, from whoever shows a token, bounded in size, depth, cost and time.

There is no GET and no list of questions. The token comes in the `Authorization` header and never in a cookie, so a page of
somebody else's cannot ask with what the browser holds. What goes wrong stands in `errors` with the code that every other
interface gives it, under `extensions`; of the inside nothing is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rspp.contract.codec import Limits, decode_json, from_plain
from rspp.contract.errors import LimitReached, PeerFault, RsppError
from rspp.server.app import address_of, supervised
from rspp.server.faults import INTERNAL, JSON, fault_of, headers_of, status_of
from rspp.server.gate import Gate
from rspp.server.graphql.asking import Asking, Sources
from rspp.server.graphql.limits import BODY_BYTES_MAX, checked
from rspp.server.graphql.schema import make_schema
from rspp.server.graphql.turns import Turns
from rspp.server.reading import JSON_TYPES, body_of

log = logging.getLogger("rspp.server.graphql")

PATH: Final = "/graphql"
LIMITS: Final = Limits(size_bytes_max=BODY_BYTES_MAX, depth_max=12, values_max=2_000)
QUERY_S_MAX: Final = 20.0
# A replay or a command to a worker takes longer than a look.
MUTATION_S_MAX: Final = 120.0
ERRORS_MAX: Final = 20
# So many questions are worked at at once; more are told to come again.
AT_ONCE_MAX: Final = 64
# Of them, those of one principal, so that nobody keeps the others out; and those that change something or take long.
OF_ONE_MAX: Final = 32
MUTATIONS_OF_ONE_MAX: Final = 4
RETRY_MS: Final = 500


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What a request holds."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


class Busy(LimitReached):
    """More is asked at once than is answered at once."""

    def __init__(self, what: str) -> None:
        super().__init__("queries_full", f"{what} are being answered; ask again in a moment")
        self.retry_after_ms = RETRY_MS


class Places:
    """Who is being answered; raises `Busy` for more at once than may be."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, bool]] = Counter()  # bounded: by AT_ONCE_MAX

    @contextmanager
    def one(self, principal_id: str, *, is_mutation: bool) -> Iterator[None]:
        place = (principal_id, is_mutation)
        if self._taken.total() >= AT_ONCE_MAX:
            raise Busy(f"{AT_ONCE_MAX} questions")
        if sum(self._taken[principal_id, kind] for kind in (True, False)) >= OF_ONE_MAX:
            raise Busy(f"{OF_ONE_MAX} questions of yours")
        if is_mutation and self._taken[place] >= MUTATIONS_OF_ONE_MAX:
            raise Busy(f"{MUTATIONS_OF_ONE_MAX} mutations of yours")
        self._taken[place] += 1
        try:
            yield
        finally:
            self._taken[place] -= 1
            if not self._taken[place]:
                del self._taken[place]


def graphql_route(gate: Gate, sources: Sources) -> Route:
    return Route(PATH, supervised(Endpoint(gate, sources).answer), methods=["POST"])


class Endpoint:
    """The one address of GraphQL."""

    def __init__(self, gate: Gate, sources: Sources) -> None:
        self._gate, self._sources = gate, sources
        self._schema = make_schema()
        self._turns = Turns()
        self._places = Places()

    async def answer(self, request: Request) -> Response:
        try:
            asking = Asking(
                principal=await self._gate.enter(request.headers.get("authorization"), address_of(request)),
                sources=self._sources,
                turns=self._turns,
            )
            asked = await _read(request)
            operation = _meant(checked(asked.query, asked.variables), asked.operation_name)
            return await self._executed(asked, operation, asking, str(request.scope.get("request_id")))
        except RsppError as error:
            return _refused(error)

    async def _executed(
        self, asked: Asked, operation: OperationDefinitionNode, asking: Asking, request_id: str
    ) -> Response:
        is_mutation = operation.operation is OperationType.MUTATION
        with self._places.one(asking.principal.id, is_mutation=is_mutation):
            try:
                async with asyncio.timeout(MUTATION_S_MAX if is_mutation else QUERY_S_MAX):
                    result = await self._schema.execute(
                        asked.query, asked.variables, asking, operation_name=asked.operation_name
                    )
            except TimeoutError:
                raise PeerFault("query_late", "this took too long; ask for less at once") from None
        return _response(result, request_id)


async def _read(request: Request) -> Asked:
    if request.url.query:
        raise PeerFault("field_unknown", "what is asked stands in the body")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = await body_of(request, LIMITS.size_bytes_max)
    if kind not in JSON_TYPES:
        raise PeerFault("media_type_unsupported", "the body is JSON: application/json")
    asked: Asked = from_plain(decode_json(data, dict[str, Any], LIMITS), Asked)
    return asked


def _meant(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The one operation that is to be done; raises `PeerFault` where there is none, or more than one."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    meant = [one for one in operations if name is None or (one.name is not None and one.name.value == name)]
    if len(meant) != 1:
        raise PeerFault("query_invalid", "a query has one operation, or `operationName` says which is meant")
    if meant[0].operation is OperationType.SUBSCRIPTION:
        raise PeerFault("query_invalid", "what changes is told over Socket.IO; there are no subscriptions")
    return meant[0]


def _response(result: Any, request_id: str) -> Response:
    """200 for what was answered, in part too; 400 for what could not even be begun."""
    body: dict[str, Any] = {}
    errors = result.errors or []
    if errors:
        body["errors"] = [_told(error, request_id) for error in errors[:ERRORS_MAX]]
    begun = result.data is not None or any(error.path for error in errors)
    if begun:
        body["data"] = result.data
    return Response(msgspec.json.encode(body), 200 if begun or not errors else 400, media_type=JSON)


def _told(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """The error as everybody may see it."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    told: dict[str, Any] = {"message": error.message}
    if error.locations:
        told["locations"] = [{"line": one.line, "column": one.column} for one in error.locations]
    if error.path:
        told["path"] = error.path
    if cause is None or isinstance(cause, GraphQLError):
        told["extensions"] = {"code": "query_invalid"}
    elif isinstance(cause, RsppError):
        told["message"], told["extensions"] = cause.message, _extensions(cause)
    else:
        log.error("request %s: %s failed", request_id, error.path, exc_info=cause)
        told["message"] = "the control plane failed; its log has the request's id"
        told["extensions"] = {"code": INTERNAL}
    return told


def _extensions(error: RsppError) -> dict[str, Any]:
    fault = fault_of(error)
    said = {"code": fault.code, "path": fault.path, "retry_after_ms": fault.retry_after_ms}
    return {name: value for name, value in said.items() if value is not None}


def _refused(error: RsppError) -> Response:
    """What was not even begun: the status and the headers that any other address would answer it with."""
    body = {"errors": [{"message": error.message, "extensions": _extensions(error)}]}
    return Response(msgspec.json.encode(body), status_of(error), headers_of(error), media_type=JSON)
