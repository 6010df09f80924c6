"""Published pipelines for people: their versions, who gets which, and the graph of one with what policies put into it.

The graph is compiled by this process's own view, from the documents that the name of a graph names: what a new session of the
tenant would run now. Without a tenant it is what holds for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.control.config.policy import FLEET
from rspp.control.config.registry import Published, compiled
from rspp.control.config.rollouts import Record
from rspp.control.plane import ControlPlane
from rspp.server.recorded.resolved import edges_of, nodes_of
from rspp.server.recorded.words import Pipeline, Version
from rspp.spec.graph import GraphDefinition

# Of a list; each is compiled once and then kept by the view.
PIPELINES_MAX: Final = 200
CHANGES_MAX: Final = 20
PROBLEMS_MAX: Final = 20


class Pipelines:
    """What is published, as of now."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def all(self, tenant: str | None = None) -> list[Pipeline]:
        """Every pipeline at the version that new sessions get; one of which nothing is rolled out at its newest."""
        await self._plane.look_at_view()
        names = sorted(await self._plane.registry.pipelines())[:PIPELINES_MAX]
        found = [await self._one(name, None, tenant) for name in names]
        return [one for one in found if one is not None]

    async def one(self, name: str, version: str | None = None, tenant: str | None = None) -> Pipeline | None:
        """One version of one pipeline; None for what was never published."""
        await self._plane.look_at_view()
        return await self._one(name, version, tenant)

    async def served(self) -> list[GraphDefinition]:
        """The graphs that new sessions may get now; one that does not compile here is left out."""
        await self._plane.look_at_view()
        return await asyncio.to_thread(self._served, self._plane.view.known.graph_refs()[:PIPELINES_MAX])

    def _served(self, refs: Iterable[str]) -> list[GraphDefinition]:
        found = []
        for ref in refs:
            with suppress(RsppError):
                found.append(self._plane.view.graph_for(ref))
        return found

    async def _one(self, name: str, version: str | None, tenant: str | None) -> Pipeline | None:
        plane = self._plane
        published = await plane.registry.versions(name)
        record = await plane.rollouts.get(name)
        wanted = version or (record.rollout.base if record is not None else _newest(published))
        found = next((one for one in published if one.version == wanted), None)
        if found is None:
            return None
        ref = str(plane.view.known.graph_ref(tenant or FLEET, name, found.version))
        graph, problems = await asyncio.to_thread(self._graph, found, ref)
        return Pipeline(
            name=name,
            version=found.version,
            versions=[_version(one, record) for one in published],
            rollout=None if record is None else _rollout(record),
            nodes=[] if graph is None else nodes_of(graph),
            edges=[] if graph is None else edges_of(graph),
            text=found.text,
            problems=problems,
        )

    def _graph(self, published: Published, ref: str) -> tuple[GraphDefinition | None, list[str]]:
        """On a thread: a graph that nobody asked for yet is compiled."""
        try:
            return self._plane.view.graph_for(ref), []
        except RsppError as error:
            loaded = compiled(published.text, published.ref, points=self._plane.points)
            problems = [str(one) for one in loaded.problems] or [error.message]
            return loaded.graph, problems[:PROBLEMS_MAX]


def modalities(graphs: Iterable[GraphDefinition]) -> dict[str, set[str]]:
    """What each provider is asked for, by the graphs that name it."""
    found: dict[str, set[str]] = {}
    for graph in graphs:
        for modality, names in graph.providers.items():
            for name in names:
                found.setdefault(name, set()).add(modality)
    return found


def _newest(published: Iterable[Published]) -> str | None:
    newest = max(published, key=lambda one: one.created_at_ms, default=None)
    return None if newest is None else newest.version


def _version(one: Published, record: Record | None) -> Version:
    return Version(
        version=one.version,
        sha256=one.sha256,
        author=one.author,
        created_at_ms=float(one.created_at_ms),
        share=0.0 if record is None else share_of(record, one.version),
    )


def share_of(record: Record, version: str) -> float:
    """The share of new sessions that get it, but for those whose tenant or caller names one."""
    rollout = record.rollout
    canary = rollout.percent / 100 if rollout.canary is not None else 0.0
    if version == rollout.canary:
        return canary
    return 1.0 - canary if version == rollout.base else 0.0


def _rollout(record: Record) -> dict[str, object]:
    return {
        **msgspec.to_builtins(record.rollout),
        "number": record.number,
        "changes": msgspec.to_builtins(record.changes[-CHANGES_MAX:]),
    }
