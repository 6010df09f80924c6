"""What an operator can do now is a pure function of health: for each reason, what its row in the table offers.

An action is data. Who takes it names the operation of the control plane that it is, with the fields to call it with; whether
the taker may, whether somebody has to agree, and what is put on record is that operation's business, not this module's.
An id is `kind:surface:aggregate`, of a tenant's thing `kind:surface:aggregate:tenant`: the same for as long as the thing is
as it is, and the same in every process. What several reasons ask for is offered once, for the worst of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote as shell
from typing import Any, Final
from urllib.parse import quote

import msgspec

from rspp.contract.surface import TEXT_CHARACTERS_MAX
from rspp.ops.health import Health, Reason
from rspp.ops.offers import Offer, Risk, Role, Said
from rspp.ops.reasons import OFFERED

ACTIONS_MAX: Final = 500
GRAPHQL: Final = (
    "mutation Act($key: String!, $reason: String!)"
    " {{ act(id: {id}, key: $key, reason: $reason) {{ id done repeated message code }} }}"
)
# A request's field that says why; whoever takes the action says it in own words.
REASON_FIELD: Final = "reason"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """The one mutation that performs an action, in the ways to ask for it. As it stands it can be sent."""

    operation: str
    fields: dict[str, Any]  # of the operation's request, the path's included
    permission: str
    method: str
    path: str
    body: dict[str, Any]
    graphql: str
    cli: str


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done now about one reason."""

    id: str
    kind: str
    title: str
    why: str
    surface: str
    aggregate_id: str
    tenant_id: str | None
    role: Role
    risk: Risk
    call: Call


def actions_of(health: Health) -> list[Action]:
    """What can be done about each reason, in the reasons' order, at most `ACTIONS_MAX` things."""
    actions: dict[str, Action] = {}
    for reason in health.reasons:
        for offer in OFFERED.get(reason.code, ()):
            action = action_for(offer, reason)
            if action is not None and len(actions) < ACTIONS_MAX:
                actions.setdefault(action.id, action)
    return list(actions.values())


def action_for(offer: Offer, reason: Reason) -> Action | None:
    """The action on this row; None where the row does not tell what the call needs."""
    known: Mapping[str, Said | None] = {
        **reason.facts,
        "aggregate_id": reason.aggregate_id,
        "tenant_id": reason.tenant_id,
    }
    fields: dict[str, Any] = {**offer.fixed}
    for name, source in offer.fields.items():
        value = known.get(source)
        if not isinstance(value, str) or not value:  # they are all names
            return None
        fields[name] = value
    why = fields[REASON_FIELD] = _why(reason)
    about = known.get(offer.of)
    if about is None or about == "":
        return None
    identity = id_of(
        offer.kind,
        offer.surface or reason.surface,
        str(about),
        None if offer.surface else reason.tenant_id,
    )
    return Action(
        id=identity,
        kind=offer.kind,
        title=offer.title.format_map({name: str(value) for name, value in fields.items()}),
        why=why,
        surface=reason.surface,
        aggregate_id=reason.aggregate_id,
        tenant_id=reason.tenant_id,
        role=offer.role,
        risk=offer.risk,
        call=_call(offer, fields, identity),
    )


def id_of(kind: str, surface: str, aggregate_id: str, tenant_id: str | None) -> str:
    """Unique among all kinds, surfaces, things and tenants, whatever their names hold."""
    parts = (kind, surface, aggregate_id) if tenant_id is None else (kind, surface, aggregate_id, tenant_id)
    return ":".join(quote(part, safe="@/") for part in parts)


def _why(reason: Reason) -> str:
    said = f"{reason.code}: {reason.message}" if reason.message else reason.code
    return said[:TEXT_CHARACTERS_MAX]


def _call(offer: Offer, fields: dict[str, Any], identity: str) -> Call:
    path, body = offer.path, dict(fields)
    for name in offer.path_fields:
        path = path.replace(f"{{{name}}}", quote(str(body.pop(name)), safe=""))
    return Call(
        operation=offer.operation,
        fields=fields,
        permission=offer.permission,
        method=offer.method,
        path=path,
        body=body,
        graphql=GRAPHQL.format(id=msgspec.json.encode(identity).decode()),
        cli=_cli(offer, fields),
    )


def _cli(offer: Offer, fields: Mapping[str, Any]) -> str:
    """As one would type it: what stands in the path as arguments, the tenant apart; the rest as options."""
    noun, _, verb = offer.operation.partition(".")
    arguments = [name for name in offer.path_fields if name != "tenant"]
    words = ["rspp", "control", noun, verb.replace("_", "-")]
    for name, value in fields.items():
        if name not in arguments:
            words += _option(name, value)
    # What begins with a dash is a name all the same.
    given = [str(fields[name]) for name in arguments]
    if any(one.startswith("-") for one in given):
        words.append("--")
    return " ".join([*words, *(shell(one) for one in given)])


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is True:
        return [flag]
    if isinstance(value, Mapping):
        return [f"{flag}={shell(f'{key}={one}')}" for key, one in value.items()]
    return [] if value is False else [f"{flag}={shell(str(value))}"]
