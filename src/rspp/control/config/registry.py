"""What is published is what was checked: a spec enters the registry only if it compiles here, and is then for ever what it was.

The name and the version are the spec's own. The same text again is no change; another text under the same version, and
a breaking change under the same major version, are refused. A graph is compiled anew from the stored text, whose hash
was checked, so a graph and its source cannot part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

import rspp
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.surface import Coverage, Kept, Row, Surface, Truth, cut
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.control.config import literals
from rspp.control.config.compatibility import breaks, neighbour, next_neighbour
from rspp.control.config.documents import Document, Versions, WallMs
from rspp.control.config.nodes import Points, nodes_for, offered
from rspp.control.config.rollouts import SPEC
from rspp.control.names import CONFIG, parts
from rspp.host.ports import Store
from rspp.spec import DEFAULT, Catalog, Insertion, Layer, Loaded, Problem, load
from rspp.spec.graph import GraphDefinition

# What a spec is called in what is told of its problems.
PUBLISHED: Final = "<published>"
# A document's facts, by name.
FINGERPRINT: Final = "fingerprint"
RELEASE: Final = "release"
SCHEMA: Final = "schema"
REASON: Final = "reason"


class _Head(msgspec.Struct, frozen=True):
    """Of a document, what a list shows: its text, which may be long, is passed over."""

    name: str
    version: str
    sha256: str
    author: str
    created_at_ms: int
    facts: dict[str, str] = {}


_HEAD: Final = msgspec.json.Decoder(_Head).decode


def row_of(key: str, value: bytes) -> Row | None:
    """A published version of a pipeline, which never changes."""
    try:
        head = _HEAD(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if parts(key) != (SPEC, head.name, head.version):
        return None
    return Row(
        aggregate_id=f"{head.name}@{head.version}",
        state="published",
        since_ms=head.created_at_ms,
        facts={
            "pipeline": cut(head.name),
            "version": cut(head.version),
            "author": cut(head.author),
            "sha256": cut(head.sha256),
            "release": cut(head.facts.get(RELEASE, "")),
        },
    )


SURFACE: Final = Surface(
    name="pipelines",
    owner=__name__,
    summary="Every published version of every pipeline.",
    aggregate_type="pipeline_version",
    storage=f"kv:{CONFIG}",
    truth=Truth.CANONICAL,
    read="GET /v1/pipelines",
    coverage=Coverage.JOURNAL,
    kept=Kept(CONFIG, f"{SPEC}/"),
    row=row_of,
)


class SpecRefused(MisuseError):  # noqa: N818 - named as the other refusals are
    """A spec that cannot be published, with every problem of it."""

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        super().__init__("spec_refused", message)
        self.problems = tuple(problems)


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """One published version, and what was found out when it was published."""

    pipeline: str
    version: str
    text: str
    sha256: str
    author: str
    created_at_ms: int
    fingerprint: str
    release: str
    schema: str
    reason: str = ""
    warnings: tuple[Problem, ...] = ()

    @property
    def ref(self) -> str:
        return f"{self.pipeline}@{self.version}"


def published_of(document: Document) -> Published:
    missing = [name for name in (FINGERPRINT, RELEASE, SCHEMA) if name not in document.facts]
    if missing:
        raise PeerFault("document_corrupt", f"{document.ref} does not tell its {', '.join(missing)}")
    return Published(
        pipeline=document.name,
        version=document.version,
        text=document.text,
        sha256=document.sha256,
        author=document.author,
        created_at_ms=document.created_at_ms,
        fingerprint=document.facts[FINGERPRINT],
        release=document.facts[RELEASE],
        schema=document.facts[SCHEMA],
        reason=document.facts.get(REASON, ""),
    )


def compiled(
    text: str,
    file: str,
    *,
    layers: Sequence[Layer] = (),
    insertions: Sequence[Insertion] = (),
    points: Points = offered,
    catalog: Catalog = DEFAULT,
) -> Loaded:
    """A spec as it would run here, with the nodes that are installed; all problems are in it."""
    nodes = nodes_for(text, file, points, catalog)
    loaded = load(text, file=file, layers=layers, catalog=nodes.catalog, insertions=insertions)
    problems = nodes.added_to(loaded.problems)
    return msgspec.structs.replace(loaded, problems=problems, graph=None if nodes.errors else loaded.graph)


class Registry:
    """The published specs."""

    def __init__(
        self,
        store: Store,
        *,
        wall_ms: WallMs,
        points: Points = offered,
        catalog: Catalog = DEFAULT,
    ) -> None:
        self._versions = Versions(store, SPEC, wall_ms=wall_ms)
        self._points = points
        self._catalog = catalog

    async def publish(self, text: str, author: str, reason: str = "") -> Published:
        """Check a spec and keep it under its own name and version; raises SpecRefused with all problems.

        Said again, what is kept is what was said first, the author and the reason too.
        """
        loaded = await self._compiled(text, PUBLISHED)
        graph = loaded.graph
        held = [] if loaded.spec is None else literals.in_metadata(loaded.spec, text, PUBLISHED)
        if graph is None or held:
            errors = (*loaded.errors, *held)
            raise SpecRefused(f"the spec has {len(errors)} problem{'s' * (len(errors) != 1)}", errors)
        there = await self._versions.versions(graph.pipeline)
        if graph.version not in there:
            await self._fits(graph, there)
        document = await self._versions.publish(
            graph.pipeline,
            graph.version,
            text,
            author=author,
            facts={
                FINGERPRINT: graph.fingerprint,
                RELEASE: rspp.__version__,
                SCHEMA: CORE_SCHEMA_VERSION,
                **({REASON: reason} if reason else {}),
            },
        )
        warnings = (*loaded.problems, *literals.elsewhere(text, PUBLISHED))
        return msgspec.structs.replace(published_of(document), warnings=warnings)

    async def _compiled(self, text: str, file: str) -> Loaded:
        """Beside the loop, which may carry calls."""
        return await asyncio.to_thread(compiled, text, file, points=self._points, catalog=self._catalog)

    async def get(self, pipeline: str, version: str) -> Published | None:
        document = await self._versions.get(pipeline, version)
        return published_of(document) if document is not None else None

    async def want(self, pipeline: str, version: str) -> Published:
        """Fetch it; raises PeerFault `document_missing`."""
        return published_of(await self._versions.want(pipeline, version))

    async def versions(self, pipeline: str) -> list[Published]:
        return [published_of(one) for one in await self._versions.list(pipeline)]

    async def pipelines(self) -> list[str]:
        return await self._versions.names()

    async def graph(self, pipeline: str, version: str) -> GraphDefinition:
        """The compiled graph of a published version, under no policy."""
        found = await self.want(pipeline, version)
        loaded = await self._compiled(found.text, found.ref)
        if loaded.graph is None:
            raise SpecRefused(f"{found.ref} does not compile here any more", loaded.errors)
        return loaded.graph

    async def _fits(self, graph: GraphDefinition, there: list[str]) -> None:
        """No silent break: neither from the version below nor to the one above."""
        below, above = neighbour(graph.version, there), next_neighbour(graph.version, there)
        faults: list[str] = []
        if below is not None:
            faults += [
                f"since {below}: {one}" for one in breaks(await self.graph(graph.pipeline, below), graph)
            ]
        if above is not None:
            faults += [
                f"until {above}: {one}" for one in breaks(graph, await self.graph(graph.pipeline, above))
            ]
        if faults:
            raise MisuseError(
                "version_bump_missing",
                f"{graph.pipeline}@{graph.version} breaks its users: {'; '.join(faults)}",
            )
