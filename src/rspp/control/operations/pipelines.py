"""Pipelines: a spec is published once under its own name and version, checked before, and never changed after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from rspp.contract.errors import MisuseError
from rspp.control.config.registry import Published, SpecRefused
from rspp.control.operations.operation import NotFound, Nothing, Operation, Request, Response
from rspp.control.operations.words import PipelineName, Text, Version
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

# Of a spec with more problems than that, the first ones; the rest come to light once those are mended.
PROBLEMS_TOLD_MAX: Final = 20


class PublishPipeline(Request, frozen=True, kw_only=True):
    text: Text
    reason: Annotated[str, Meta(max_length=400, description="Why; it is on record, and kept with it.")] = ""


class NamePipeline(Request, frozen=True, kw_only=True):
    pipeline: PipelineName


class NameVersion(Request, frozen=True, kw_only=True):
    pipeline: PipelineName
    version: Version


class Names(Response, frozen=True, kw_only=True):
    items: list[str]


class PublishedItem(Response, frozen=True, kw_only=True):
    pipeline: str
    version: str
    sha256: str
    fingerprint: str
    author: str
    created_at_ms: int
    release: str
    schema: str
    reason: str = ""


class PublishedDetail(Response, frozen=True, kw_only=True):
    published: PublishedItem
    warnings: list[str]
    text: str


class PublishedList(Response, frozen=True, kw_only=True):
    items: list[PublishedItem]


class CompiledGraph(Response, frozen=True, kw_only=True):
    pipeline: str
    version: str
    fingerprint: str
    graph: Annotated[dict[str, Any], Meta(description="What the spec compiles to, policies apart.")]


def item_of(found: Published) -> PublishedItem:
    return PublishedItem(
        pipeline=found.pipeline,
        version=found.version,
        sha256=found.sha256,
        fingerprint=found.fingerprint,
        author=found.author,
        created_at_ms=found.created_at_ms,
        release=found.release,
        schema=found.schema,
        reason=found.reason,
    )


async def publish(plane: ControlPlane, principal: Principal, asked: PublishPipeline) -> PublishedDetail:
    try:
        done = await plane.registry.publish(asked.text, principal.id, asked.reason)
    except SpecRefused as error:
        problems = "; ".join(map(str, error.problems[:PROBLEMS_TOLD_MAX]))
        raise MisuseError(error.code, f"{error.message}: {problems}", "text") from error
    return PublishedDetail(
        published=item_of(done), warnings=[str(one) for one in done.warnings], text=done.text
    )


async def list_pipelines(plane: ControlPlane, _: Principal, __: Nothing) -> Names:
    return Names(items=await plane.registry.pipelines())


async def versions(plane: ControlPlane, _: Principal, asked: NamePipeline) -> PublishedList:
    found = await plane.registry.versions(asked.pipeline)
    if not found:
        raise NotFound
    return PublishedList(items=[item_of(one) for one in found])


async def show(plane: ControlPlane, _: Principal, asked: NameVersion) -> PublishedDetail:
    found = await plane.registry.get(asked.pipeline, asked.version)
    if found is None:
        raise NotFound
    return PublishedDetail(published=item_of(found), warnings=[], text=found.text)


async def graph(plane: ControlPlane, _: Principal, asked: NameVersion) -> CompiledGraph:
    if await plane.registry.get(asked.pipeline, asked.version) is None:
        raise NotFound
    compiled = await plane.registry.graph(asked.pipeline, asked.version)
    return CompiledGraph(
        pipeline=compiled.pipeline,
        version=compiled.version,
        fingerprint=compiled.fingerprint,
        graph=msgspec.to_builtins(compiled),
    )


_ONE: Final = "/v1/pipelines/{pipeline}"
_EXAMPLE: Final = {"pipeline": "front-desk", "version": "v1.4.2"}

PIPELINES: Final = (
    Operation(
        name="pipelines.publish",
        method="POST",
        path="/v1/pipelines",
        request=PublishPipeline,
        response=PublishedDetail,
        permission=Permission.PIPELINES_PUBLISH,
        handler=publish,
        summary="Publish a version of a pipeline; its name and version are those that the spec says.",
        example={"text": "schema_version: v1.0\n..."},
        idempotent=True,
    ),
    Operation(
        name="pipelines.list",
        method="GET",
        path="/v1/pipelines",
        request=Nothing,
        response=Names,
        permission=Permission.PIPELINES_READ,
        handler=list_pipelines,
        summary="List the pipelines of which something was published.",
    ),
    Operation(
        name="pipelines.versions",
        method="GET",
        path=f"{_ONE}/versions",
        request=NamePipeline,
        response=PublishedList,
        permission=Permission.PIPELINES_READ,
        handler=versions,
        summary="List the published versions of a pipeline: hash, author, when.",
        example={"pipeline": "front-desk"},
    ),
    Operation(
        name="pipelines.show",
        method="GET",
        path=f"{_ONE}/versions/{{version}}",
        request=NameVersion,
        response=PublishedDetail,
        permission=Permission.PIPELINES_READ,
        handler=show,
        summary="Show a published version with its text.",
        example=_EXAMPLE,
    ),
    Operation(
        name="pipelines.graph",
        method="GET",
        path=f"{_ONE}/versions/{{version}}/graph",
        request=NameVersion,
        response=CompiledGraph,
        permission=Permission.PIPELINES_READ,
        handler=graph,
        summary="Show what a published version compiles to here.",
        example=_EXAMPLE,
    ),
)
