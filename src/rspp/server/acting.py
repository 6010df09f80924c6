"""An offered action is taken once for each key, whoever asks how often, and whatever dies in between.

    nothing --(offered now; compare-and-set)--> taking --(the operation answers)--> over
                                                   |
                          the process dies here: whoever asks again hears that the end is not known

What is done is an operation of the control plane, through its one door: permission, consent and audit are that door's. Two
who come at once with the same key do it once: the second waits for the first one's answer. A key belongs to who used it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta

from rspp.contract.codec import from_plain
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.commands import Outcome
from rspp.control.names import key as store_key
from rspp.control.operations import operation_named
from rspp.control.operations.calling import Verdict, call, judge
from rspp.control.operations.operation import NotFound, Operation, Request
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Permission, Principal
from rspp.host.ports import Entry
from rspp.ops.actions import REASON_FIELD, Action, actions_of
from rspp.ops.health import Health, visible_to
from rspp.server.sight import tenants_read
from rspp.timeline.redaction.forms import without_secrets

log = logging.getLogger("rspp.server.acting")

ACTS: Final = "acts"
ACT_TTL_MS: Final = 24 * 3_600_000
# Longer than any operation that an action names waits for a worker. What has not ended by then has an end that nobody knows.
TAKING_MS_MAX: Final = 20_000
OPERATION: Final = "actions.take"
KEY_CHARACTERS_MAX: Final = 128
REASON_CHARACTERS_MAX: Final = 400
UNKNOWN: Final = "action_outcome_unknown"


class Offers(Protocol):
    """Who knows what is wrong now: the state engine."""

    def health(self) -> Health: ...


class TakeAction(Request, frozen=True, kw_only=True):
    """What is asked: the same key is the same taking."""

    id: Annotated[str, Meta(min_length=1, max_length=2_000)]
    key: Annotated[str, Meta(min_length=1, max_length=KEY_CHARACTERS_MAX, pattern=r"^[!-~]+$")]
    reason: Annotated[str, Meta(min_length=1, max_length=REASON_CHARACTERS_MAX)]


class ActionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Not done: `code` says why, and for `action_outcome_unknown` the message where to look."""

    id: str
    done: bool
    repeated: bool = False
    message: str = ""
    code: str = ""


class State(StrEnum):
    TAKING = "taking"
    OVER = "over"


class Taking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bucket `acts`, key `<principal>/<key>`."""

    action: str
    state: State
    at_ms: int
    done: bool = False
    code: str = ""
    message: str = ""


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.json.Decoder(Taking).decode


def health_for(principal: Principal, engine: Offers) -> Health:
    """How everything looks to this principal: of its tenants, as if there were nothing else."""
    return visible_to(engine.health(), tenants_read(principal, Permission.HEALTH_READ))


async def act(
    plane: ControlPlane, engine: Offers, principal: Principal, action_id: str, key: str, reason: str
) -> ActionResult:
    """Take the action, or say what came of it when this key was used for it before.

    Raises `NotFound` for what is not offered to this principal, and whatever the door says of who may not.
    """
    asked = from_plain({"id": action_id, "key": key, "reason": reason}, TakeAction)
    where = store_key(principal.id, asked.key)
    known = _taking(await plane.store.get(ACTS, where))
    if known is None:
        action = await _offered(plane, engine, principal, asked)
        operation = operation_named(action.call.operation)
        why = without_secrets(asked.reason)
        request = _request(operation, action, why)
        about = {"action": action.id, "key": asked.key, "why": why}
        if judge(principal, operation, request) is not Verdict.ALLOWED:
            await call(plane, principal, operation, request, about=about)  # says no, and puts that on record
        begun = Taking(action=action.id, state=State.TAKING, at_ms=plane.wall_ms())
        revision = await plane.store.put(ACTS, where, _ENCODE(begun), expect=0, ttl_ms=ACT_TTL_MS)
        if revision is not None:
            over = await _take(begun, call(plane, principal, operation, request, about=about))
            await _keep(plane, where, over, revision)
            return _result(over, repeated=False)
        known = _taking(await plane.store.get(ACTS, where))
    return await _again(plane, where, known, asked)


async def _offered(plane: ControlPlane, engine: Offers, principal: Principal, asked: TakeAction) -> Action:
    """The action, if it is offered to this principal now. What is hidden from it is not found, and that is on record."""
    for one in actions_of(health_for(principal, engine)):
        if one.id == asked.id:
            return one
    about = {"action": asked.id, "key": asked.key}
    await plane.audit.denied(principal.id, OPERATION, None, "not_offered", about)
    raise NotFound


def _request(operation: Operation, action: Action, reason: str) -> Any:
    fields = dict(action.call.fields)
    if REASON_FIELD in operation.request.__struct_fields__:
        fields[REASON_FIELD] = reason
    return from_plain(fields, operation.request)


async def _take(begun: Taking, doing: Awaitable[Any]) -> Taking:
    """Do it, once; what came of it. What the door says now, a consent that is missing too, is the answer for this key."""
    try:
        async with asyncio.timeout(TAKING_MS_MAX / 1000):
            answer = await doing
    except TimeoutError:
        return _over(begun, done=False, code=UNKNOWN, message=_where_to_look(begun.action))
    except RsppError as error:
        return _over(begun, done=False, code=error.code, message=error.message)
    outcome = getattr(answer, "outcome", Outcome.DONE)
    message = getattr(answer, "message", "")
    code = "" if outcome is Outcome.DONE else f"action_{outcome.value}"
    return _over(begun, done=outcome is Outcome.DONE, code=code, message=message)


async def _keep(plane: ControlPlane, where: str, over: Taking, revision: int) -> None:
    """What is done is done: who did it is not told otherwise because its end could not be written."""
    try:
        await plane.store.put(ACTS, where, _ENCODE(over), expect=revision, ttl_ms=ACT_TTL_MS)
    except (RsppError, OSError) as error:
        log.warning("the end of %s is not kept: %s", over.action, type(error).__name__)


async def _again(plane: ControlPlane, where: str, known: Taking | None, asked: TakeAction) -> ActionResult:
    """The answer that was given, or that will be in a moment."""
    if known is not None and known.action != asked.id:
        raise MisuseError("action_key_reused", "this key was used for another action; make a new one", "key")
    if known is not None and known.state is State.TAKING:
        left_ms = min(known.at_ms + TAKING_MS_MAX - plane.wall_ms(), TAKING_MS_MAX)
        known = await _ended(plane, where, left_ms) if left_ms > 0 else None
    if known is None or known.state is State.TAKING:
        message = _where_to_look(asked.id)
        return ActionResult(id=asked.id, done=False, repeated=True, code=UNKNOWN, message=message)
    return _result(known, repeated=True)


async def _ended(plane: ControlPlane, where: str, within_ms: int) -> Taking | None:
    try:
        async with (
            asyncio.timeout(within_ms / 1000),
            aclosing(plane.store.watch(ACTS, where)) as entries,  # type: ignore[type-var]
        ):
            async for entry in entries:
                known = _taking(entry) if entry.key == where else None
                if known is not None and known.state is State.OVER:
                    return known
    except TimeoutError:
        pass
    return None


def _taking(entry: Entry | None) -> Taking | None:
    """None where nothing is kept; what cannot be read was begun, and its end is not known."""
    if entry is None:
        return None
    try:
        return _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise MisuseError(
            "action_key_reused", "what is kept under this key is no action; make a new one", "key"
        ) from None


def _over(begun: Taking, *, done: bool, code: str, message: str) -> Taking:
    return msgspec.structs.replace(begun, state=State.OVER, done=done, code=code, message=message)


def _result(over: Taking, *, repeated: bool) -> ActionResult:
    return ActionResult(
        id=over.action, done=over.done, repeated=repeated, message=over.message, code=over.code
    )


def _where_to_look(action_id: str) -> str:
    kind, surface, *_ = action_id.split(":")
    return (
        f"{kind} was begun, and how it ended is not known. Look at the surface {surface} and at the audit log; "
        "if it is offered still, take it again with a new key"
    )


class Acting:
    """The same for whoever holds plane and engine together."""

    def __init__(self, plane: ControlPlane, engine: Offers) -> None:
        self._plane, self._engine = plane, engine

    async def take(self, principal: Principal, action_id: str, key: str, reason: str) -> ActionResult:
        return await act(self._plane, self._engine, principal, action_id, key, reason)
