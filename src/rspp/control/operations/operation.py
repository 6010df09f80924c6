"""An operation is one row: who may ask for it, of which tenant, with what, and what answers. Everything else is made from it.

The scope of a row is not said but follows from its request:

    a field `tenant`      the tenant's: asked for by a principal who has a role there, or everywhere (`*`)
    `tenant` left out     where the field may be None, all tenants' at once: only by a principal with a role everywhere
    no field `tenant`     the fleet's: only by a principal with a role everywhere
    `own`                 of the caller alone: anybody whom the control plane knows
    `by_secret`           of whoever shows a secret that is in the request; everything else answers as if nothing were there

So a row that forgets its scope is closed to tenants, and not open to all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

TENANT_FIELD: Final = "tenant"
ITEMS_MAX: Final = 1_000
BODY_BYTES_MAX: Final = 1_048_576


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked, as one flat record: the path's parts, then the query of a GET or the body of anything else."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered. Clients of an older version ignore what is added."""


class Nothing(Request, frozen=True, kw_only=True):
    """Asks for no more than the operation itself."""


class Done(Response, frozen=True, kw_only=True):
    """It was done, to what this names."""

    done: str


class Scope(StrEnum):
    TENANT = "tenant"
    FLEET = "fleet"
    OWN = "own"
    SECRET = "secret"


Handler = Callable[["ControlPlane", Principal, Any], Awaitable[Any]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be asked of the control plane, over HTTP and from the command line alike."""

    name: str  # noun.verb
    method: str
    path: str
    request: type[Any]
    response: type[Any]
    permission: Permission
    handler: Handler
    summary: str
    example: Mapping[str, object] = {}
    own: bool = False
    by_secret: bool = False
    # Read-only operations are not on record; what is changed is, before it is done and after.
    audited: bool = True
    # Asked for twice, is it as if it had been asked for once?
    idempotent: bool = False
    # May it have to wait for somebody else's consent? What only takes risk away never does.
    approval: bool = False
    body_bytes_max: int = BODY_BYTES_MAX
    # Never on record: what opens doors.
    unsaid: tuple[str, ...] = ()

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]

    @property
    def changes(self) -> bool:
        return self.method != "GET"

    @property
    def scope(self) -> Scope:
        if self.own:
            return Scope.OWN
        if self.by_secret:
            return Scope.SECRET
        return Scope.TENANT if TENANT_FIELD in self.request.__struct_fields__ else Scope.FLEET

    @property
    def path_fields(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


class NotFound(PeerFault):
    """The one answer for what does not exist and for what is another tenant's. It says nothing of either."""

    def __init__(self) -> None:
        super().__init__("not_found", "there is no such thing, or it is not yours to see")


class Denied(PeerFault):
    def __init__(self, permission: Permission) -> None:
        super().__init__("permission_denied", f"this needs the permission {permission.value}")


class Conflict(PeerFault):
    """Somebody else was first, or things are not in the state that this needs."""


class Unanswered(PeerFault):
    """A command was given, and nobody said in time what came of it."""


def found(thing: Any) -> Any:
    """The thing, or the one answer for what is not there."""
    if thing is None:
        raise NotFound
    return thing


def limited(count: int) -> int:
    """How many of a list, within its bound."""
    if not 0 < count <= ITEMS_MAX:
        raise MisuseError("value_invalid", f"a page has 1 to {ITEMS_MAX} entries, not {count}", "limit")
    return count


__all__ = [
    "ITEMS_MAX",
    "TENANT_FIELD",
    "Conflict",
    "Denied",
    "Done",
    "Handler",
    "LimitReached",
    "NotFound",
    "Nothing",
    "Operation",
    "Request",
    "Response",
    "Scope",
    "Unanswered",
    "found",
    "limited",
]
