"""Policies and provider configs: documents of a tenant, or of the fleet (`*`), of which one version each is in force.

They have versions of their own and are put in force, and taken back, apart from any pipeline.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from rspp.control.config.documents import Document, Move, Pointer
from rspp.control.config.policies import Policies
from rspp.control.config.policy import POLICY, PROVIDERS
from rspp.control.operations.operation import NotFound, Operation, Request, Response
from rspp.control.operations.words import NAME_MAX, Reason, Text, Version
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

Whose = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Whose; * is the whole fleet's.")]


class PublishDocument(Request, frozen=True, kw_only=True):
    tenant: Whose
    version: Version
    text: Text


class NameDocuments(Request, frozen=True, kw_only=True):
    tenant: Whose


class NameDocument(Request, frozen=True, kw_only=True):
    tenant: Whose
    version: Version


class ActivateDocument(Request, frozen=True, kw_only=True):
    tenant: Whose
    version: Version
    reason: Reason


class MoveDocument(Request, frozen=True, kw_only=True):
    tenant: Whose
    reason: Reason


class DocumentItem(Response, frozen=True, kw_only=True):
    tenant: str
    version: str
    sha256: str
    author: str
    created_at_ms: int
    in_force: bool


class DocumentDetail(Response, frozen=True, kw_only=True):
    document: DocumentItem
    text: str


class DocumentList(Response, frozen=True, kw_only=True):
    items: list[DocumentItem]


class InForceDetail(Response, frozen=True, kw_only=True):
    """Which version is in force, and the moves that led to it, the last one last. None was ever in force: empty."""

    tenant: str
    version: str
    moves: tuple[Move, ...]


class _Kind(msgspec.Struct, frozen=True):
    """A kind of document, as operations need it."""

    noun: str
    word: str
    kind: str
    read: Permission
    publish: Permission
    activate: Permission

    def of(self, plane: ControlPlane) -> Policies:
        return plane.policies if self.kind == POLICY else plane.provider_configs


def _item(document: Document, pointer: Pointer | None) -> DocumentItem:
    return DocumentItem(
        tenant=document.name,
        version=document.version,
        sha256=document.sha256,
        author=document.author,
        created_at_ms=document.created_at_ms,
        in_force=pointer is not None and pointer.version == document.version,
    )


def _in_force(pointer: Pointer | None, tenant: str) -> InForceDetail:
    if pointer is None:
        return InForceDetail(tenant=tenant, version="", moves=())
    return InForceDetail(tenant=tenant, version=pointer.version, moves=pointer.moves)


async def publish(
    kind: _Kind, plane: ControlPlane, principal: Principal, asked: PublishDocument
) -> DocumentDetail:
    documents = kind.of(plane)
    done = await documents.publish(asked.tenant, asked.version, asked.text, author=principal.id)
    return DocumentDetail(document=_item(done, await documents.in_force(asked.tenant)), text=done.text)


async def listed(kind: _Kind, plane: ControlPlane, _: Principal, asked: NameDocuments) -> DocumentList:
    documents = kind.of(plane)
    pointer = await documents.in_force(asked.tenant)
    return DocumentList(items=[_item(one, pointer) for one in await documents.versions(asked.tenant)])


async def show(kind: _Kind, plane: ControlPlane, _: Principal, asked: NameDocument) -> DocumentDetail:
    documents = kind.of(plane)
    document = await documents.get(asked.tenant, asked.version)
    if document is None:
        raise NotFound
    pointer = await documents.in_force(asked.tenant)
    return DocumentDetail(document=_item(document, pointer), text=document.text)


async def in_force(kind: _Kind, plane: ControlPlane, _: Principal, asked: NameDocuments) -> InForceDetail:
    return _in_force(await kind.of(plane).in_force(asked.tenant), asked.tenant)


async def activate(
    kind: _Kind, plane: ControlPlane, principal: Principal, asked: ActivateDocument
) -> InForceDetail:
    moved = await kind.of(plane).put_in_force(
        asked.tenant, asked.version, author=principal.id, reason=asked.reason
    )
    await plane.look_at_view()
    return _in_force(moved, asked.tenant)


async def rollback(
    kind: _Kind, plane: ControlPlane, principal: Principal, asked: MoveDocument
) -> InForceDetail:
    moved = await kind.of(plane).roll_back(asked.tenant, author=principal.id, reason=asked.reason)
    await plane.look_at_view()
    return _in_force(moved, asked.tenant)


async def rollforward(
    kind: _Kind, plane: ControlPlane, principal: Principal, asked: MoveDocument
) -> InForceDetail:
    moved = await kind.of(plane).roll_forward(asked.tenant, author=principal.id, reason=asked.reason)
    await plane.look_at_view()
    return _in_force(moved, asked.tenant)


_TENANT: Final = {"tenant": "acme"}
_VERSION: Final = {"tenant": "acme", "version": "v3"}
_WHY: Final = {"reason": "cheaper nights"}


def _all_of(kind: _Kind) -> str:
    return f"/v1/tenants/{{tenant}}/{kind.noun}"


def _one_of(kind: _Kind) -> str:
    return f"{_all_of(kind)}/versions/{{version}}"


def _reading(kind: _Kind) -> tuple[Operation, ...]:
    return (
        Operation(
            name=f"{kind.noun}.list",
            method="GET",
            path=_all_of(kind),
            request=NameDocuments,
            response=DocumentList,
            permission=kind.read,
            handler=partial(listed, kind),
            summary=f"List the versions of a {kind.word}, and which one is in force.",
            example=_TENANT,
        ),
        Operation(
            name=f"{kind.noun}.show",
            method="GET",
            path=_one_of(kind),
            request=NameDocument,
            response=DocumentDetail,
            permission=kind.read,
            handler=partial(show, kind),
            summary=f"Show one version of a {kind.word} with its text.",
            example=_VERSION,
        ),
        Operation(
            name=f"{kind.noun}.in_force",
            method="GET",
            path=f"{_all_of(kind)}/in-force",
            request=NameDocuments,
            response=InForceDetail,
            permission=kind.read,
            handler=partial(in_force, kind),
            summary=f"Show which version of a {kind.word} is in force, and how that came about.",
            example=_TENANT,
        ),
    )


def _changing(kind: _Kind) -> tuple[Operation, ...]:
    return (
        Operation(
            name=f"{kind.noun}.publish",
            method="PUT",
            path=_one_of(kind),
            request=PublishDocument,
            response=DocumentDetail,
            permission=kind.publish,
            handler=partial(publish, kind),
            summary=f"Publish a version of a {kind.word}; it is checked, and in force only when it is activated.",
            example={**_VERSION, "text": "..."},
            idempotent=True,
        ),
        Operation(
            name=f"{kind.noun}.activate",
            method="POST",
            path=f"{_one_of(kind)}/activate",
            request=ActivateDocument,
            response=InForceDetail,
            permission=kind.activate,
            handler=partial(activate, kind),
            summary=f"Put a version of a {kind.word} in force; sessions have it from their next turn on.",
            example={**_VERSION, **_WHY},
            idempotent=True,
            approval=True,
        ),
    )


def _moving(kind: _Kind) -> tuple[Operation, ...]:
    return (
        Operation(
            name=f"{kind.noun}.rollback",
            method="POST",
            path=f"{_all_of(kind)}/rollback",
            request=MoveDocument,
            response=InForceDetail,
            permission=kind.activate,
            handler=partial(rollback, kind),
            summary=f"Go back to the version of a {kind.word} that was in force before.",
            example={**_TENANT, **_WHY},
        ),
        Operation(
            name=f"{kind.noun}.rollforward",
            method="POST",
            path=f"{_all_of(kind)}/rollforward",
            request=MoveDocument,
            response=InForceDetail,
            permission=kind.activate,
            handler=partial(rollforward, kind),
            summary=f"Go forward again to the version of a {kind.word} that was rolled back.",
            example={**_TENANT, **_WHY},
            approval=True,
        ),
    )


def _rows(kind: _Kind) -> tuple[Operation, ...]:
    return (*_reading(kind), *_changing(kind), *_moving(kind))


POLICIES: Final = _rows(
    _Kind(
        "policies",
        "policy",
        POLICY,
        Permission.POLICIES_READ,
        Permission.POLICIES_PUBLISH,
        Permission.POLICIES_ACTIVATE,
    )
)
PROVIDER_CONFIGS: Final = _rows(
    _Kind(
        "providers",
        "provider config",
        PROVIDERS,
        Permission.PROVIDERS_READ,
        Permission.PROVIDERS_PUBLISH,
        Permission.PROVIDERS_ACTIVATE,
    )
)
