"""Policies and provider configs are published, and put in force, apart from any pipeline; and only if every pipeline that is served bears them.

A name is a tenant, or `*` for the fleet. What cannot be read, holds a secret, puts a node where none may be, or leaves a served
pipeline without a graph is refused before it is in force: not at the next caller's door.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.surface import Coverage, Kept, Row, Surface, Truth, cut
from rspp.control.config.documents import POINTER, Document, Pointer, Pointers, Versions, WallMs, pointer_of
from rspp.control.config.graphs import compile_ref
from rspp.control.config.knowledge import Knowledge, read_into, unread
from rspp.control.config.nodes import Points, offered
from rspp.control.config.plugins import Plugins
from rspp.control.config.policy import FLEET, POLICY, PROVIDERS, InForce, policy_of, provider_config_of
from rspp.control.config.resolve import Signals, request_of, resolve
from rspp.control.names import CONFIG
from rspp.host.ports import Entry, Store

log = logging.getLogger("rspp.control.config.policies")

# Tenants times pipelines that are tried before something is put in force; each costs some milliseconds.
TRIALS_MAX: Final = 500


def row_of(key: str, value: bytes) -> Row | None:
    """Which version of a policy, or of a provider config, is in force for whom."""
    try:
        pointer = pointer_of(Entry(key, value, 0))
    except RsppError:
        return None
    last = pointer.moves[-1] if pointer.moves else None
    return Row(
        aggregate_id=f"{pointer.kind}/{pointer.name}",
        tenant_id=None if pointer.name == FLEET else pointer.name,
        state="in_force",
        since_ms=last.at_ms if last is not None else 0,
        facts={
            "kind": cut(pointer.kind),
            "name": cut(pointer.name),
            "version": cut(pointer.version),
            "former": cut(pointer.stack[pointer.at - 1]) if pointer.at else "",
            "moves": pointer.number,
            "author": cut(last.author) if last is not None else "",
        },
    )


SURFACE: Final = Surface(
    name="policies",
    owner=__name__,
    summary="Which version of each policy and each provider config is in force, for whom.",
    aggregate_type="policy",
    storage=f"kv:{CONFIG}",
    truth=Truth.CANONICAL,
    read="GET /v1/tenants/{tenant}/policies/in-force",
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(CONFIG, f"{POINTER}/"),
    row=row_of,
)


class Policies:
    """The versions of one kind, `policy` or `providers`, and which is in force for whom."""

    def __init__(
        self,
        store: Store,
        kind: str = POLICY,
        *,
        wall_ms: WallMs,
        points: Points = offered,
        plugins: Plugins | None = None,
    ) -> None:
        if kind not in (POLICY, PROVIDERS):
            raise MisuseError("word_unknown", f"there are {POLICY} and {PROVIDERS}, not {kind}")
        self.kind = kind
        self._store = store
        self._points = points
        self._plugins = plugins or Plugins()
        self._versions = Versions(store, kind, wall_ms=wall_ms)
        self._pointers = Pointers(store, kind, wall_ms=wall_ms)

    async def publish(self, name: str, version: str, text: str, *, author: str) -> Document:
        """Keep a version that is sound by itself. It is not in force by that."""
        self._check(text, f"{self.kind}/{name}@{version}")
        return await self._versions.publish(name, version, text, author=author)

    async def get(self, name: str, version: str) -> Document | None:
        return await self._versions.get(name, version)

    async def versions(self, name: str) -> list[Document]:
        return await self._versions.list(name)

    async def names(self) -> list[str]:
        return await self._versions.names()

    async def in_force(self, name: str) -> Pointer | None:
        return await self._pointers.get(name)

    async def put_in_force(self, name: str, version: str, *, author: str, reason: str = "") -> Pointer:
        await self._try(name, version)
        return await self._pointers.set(name, version, author=author, reason=reason)

    async def roll_back(self, name: str, *, author: str, reason: str = "") -> Pointer:
        """Back to the version before, tried as any other: pipelines may have changed since."""
        await self._try_beside(name, -1)
        return await self._pointers.roll_back(name, author=author, reason=reason)

    async def roll_forward(self, name: str, *, author: str, reason: str = "") -> Pointer:
        await self._try_beside(name, 1)
        return await self._pointers.roll_forward(name, author=author, reason=reason)

    def _check(self, text: str, source: str) -> None:
        if self.kind == POLICY:
            policy_of(text, source, self._points)
        else:
            provider_config_of(text, source)

    async def _try_beside(self, name: str, step: int) -> None:
        now = await self._pointers.get(name)
        if now is not None and 0 <= now.at + step < len(now.stack):
            await self._try(name, now.stack[now.at + step])

    async def _try(self, name: str, version: str) -> None:
        """Would all that is served still run? Raises MisuseError `policy_unfit` with what would not."""
        document = await self._versions.want(name, version)
        known = Knowledge(self._points)
        await read_into(known, self._store, await unread(known, self._store))
        if self.kind == POLICY:
            policy = policy_of(document.text, document.ref, self._points)
            known.policies[name] = InForce(name=name, version=version, policy=policy)
        else:
            known.providers[name] = (version, provider_config_of(document.text, document.ref))
        tenants = [name] if name != FLEET else [FLEET, *sorted({*known.policies, *known.providers} - {FLEET})]
        trials = [
            (tenant, record.rollout.pipeline, served)
            for tenant in tenants
            for record in known.rollouts.values()
            for served in record.rollout.served
        ]
        if len(trials) > TRIALS_MAX:
            log.warning("%s: %d of %d pipelines of tenants are tried", document.ref, TRIALS_MAX, len(trials))
        wrong = []
        for tenant, pipeline, served in trials[:TRIALS_MAX]:
            try:
                self._run(known, tenant, pipeline, served)
            except RsppError as error:
                wrong.append(f"{pipeline}@{served} of {tenant}: {error.message}")
            await asyncio.sleep(0)  # others are served meanwhile
        if wrong:
            raise MisuseError(
                "policy_unfit", f"{document.ref} cannot be put in force: {'; '.join(wrong[:5])}"
            )

    def _run(self, known: Knowledge, tenant: str, pipeline: str, version: str) -> None:
        graph = compile_ref(known.graph_ref(tenant, pipeline, version), known.find, self._points)
        policies = known.policies_of(tenant)
        request = request_of(graph, tenant, "", policies)
        try:
            resolve(graph, request, policies, Signals(), self._plugins)
        except PeerFault as fault:
            if fault.code != "policy_plugin_failed":
                raise  # a plugin may be installed where calls are served, and not here
