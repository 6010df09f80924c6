"""What a process knows of the control plane's documents: typed, checked, and never worse than it was.

Entries come as the store tells them, in any order and any number of times. What cannot be read, does not match its hash, or
points to what is not there changes nothing: it is told in `problems`, and the last good one stays in force. What came too
early is tried again with each document that comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.control.config.documents import POINTER, Document, Pointer, document_of, pointer_of
from rspp.control.config.graphs import GraphRef
from rspp.control.config.nodes import Points, offered
from rspp.control.config.policy import (
    FLEET,
    POLICY,
    PROVIDERS,
    InForce,
    ProviderConfig,
    policy_of,
    provider_config_of,
)
from rspp.control.config.rollouts import ROLLOUT, SPEC, Record, record_of
from rspp.control.names import CONFIG, key
from rspp.host.ports import Entry, Store

DOCUMENTS_MAX: Final = 20_000
DOCUMENT_BYTES_IN_ALL_MAX: Final = 512 * 1024 * 1024
PROBLEMS_MAX: Final = 1_000
# Keys that are read at a time.
AT_ONCE: Final = 32
KINDS: Final = (SPEC, POLICY, PROVIDERS)
MOVING: Final = (POINTER, ROLLOUT)


class Knowledge:
    """Documents, what is in force of them, and what is rolled out. `revision` rises with each change that has effect."""

    def __init__(self, points: Points = offered) -> None:
        self.policies: dict[str, InForce] = {}  # bounded: by the tenants that have one
        self.providers: dict[str, tuple[str, ProviderConfig]] = {}  # bounded: likewise
        self.rollouts: dict[str, Record] = {}  # bounded: by the pipelines
        self.problems: dict[str, str] = {}  # bounded: PROBLEMS_MAX
        self.revision = 0
        self._points = points
        self._documents: dict[tuple[str, str, str], Document] = {}  # bounded: DOCUMENTS_MAX
        self._taken: set[str] = set()  # the keys of those documents
        self._bytes = 0
        self._seen: dict[str, int] = {}  # bounded: by pointers and rollouts
        self._waiting: dict[str, tuple[Pointer | Record, int]] = {}  # bounded: by pointers and rollouts
        self._unsettled: set[str] = set()  # the keys of those that wait, or cannot be read

    def find(self, kind: str, name: str, version: str) -> Document | None:
        return self._documents.get((kind, name, version))

    def knows(self, entry_key: str) -> bool:
        """Has this document been taken? Documents do not change, so it need not be read again."""
        return entry_key in self._taken

    @property
    def documents(self) -> int:
        return len(self._documents)

    def versions(self, kind: str, name: str) -> set[str]:
        return {version for of, called, version in self._documents if (of, called) == (kind, name)}

    def broken(self, tenant_id: str) -> list[str]:
        """What should be in force for this tenant, never was here, and so is not known to forbid nothing."""
        wanted = ((POLICY, self.policies), (PROVIDERS, self.providers))
        return [
            f"{kind}/{name}"
            for kind, there in wanted
            for name in dict.fromkeys((FLEET, tenant_id))
            if name not in there and key(POINTER, kind, name) in self._unsettled
        ]

    def policies_of(self, tenant_id: str) -> tuple[InForce, ...]:
        """The fleet's first, then the tenant's own."""
        names = (FLEET,) if tenant_id == FLEET else (FLEET, tenant_id)
        return tuple(self.policies[name] for name in names if name in self.policies)

    def graph_ref(self, tenant_id: str, pipeline: str, version: str) -> GraphRef:
        """The graph of a version for this tenant, under what is in force now."""
        over = [(POLICY, one.name, one.version) for one in self.policies_of(tenant_id) if one.policy.compiles]
        over += [
            (PROVIDERS, name, self.providers[name][0])
            for name in dict.fromkeys((FLEET, tenant_id))
            if name in self.providers
        ]
        return GraphRef(pipeline, version, tuple(over))

    def graph_refs(self) -> list[str]:
        """Every graph that a new session may get now: those without documents of their tenant's own first."""
        tenants = ["", *sorted({*self.policies, *self.providers} - {FLEET})]
        found = [
            str(self.graph_ref(tenant, record.rollout.pipeline, version))
            for tenant in tenants
            for record in self.rollouts.values()
            for version in record.rollout.served
        ]
        return list(dict.fromkeys(found))

    def take(self, entry: Entry) -> bool:
        """Learn from one entry. True if what is in force has changed."""
        kind = entry.key.partition("/")[0]
        if kind not in (*KINDS, *MOVING):
            return False  # another part's
        if entry.revision <= self._seen.get(entry.key, 0):
            return False
        try:
            if kind in KINDS:
                self._take_document(entry)
            else:
                self._seen[entry.key] = entry.revision
                self._unsettled.add(entry.key)
                moved = pointer_of(entry) if kind == POINTER else record_of(entry)
                self._waiting[entry.key] = (moved, entry.revision)
        except RsppError as error:
            self._tell(entry.key, error)
            return False
        return self._settle()

    def _take_document(self, entry: Entry) -> None:
        document = document_of(entry)
        where = (document.kind, document.name, document.version)
        known = self._documents.get(where)
        if known is not None and known.sha256 != document.sha256:
            self._tell(entry.key, f"document_corrupt: {document.ref} is not what it was")
        if known is not None:
            return
        if (
            len(self._documents) >= DOCUMENTS_MAX
            or self._bytes + len(entry.value) > DOCUMENT_BYTES_IN_ALL_MAX
        ):
            self._tell(entry.key, "store_full: this process keeps no more documents")
            return
        self._documents[where] = document
        self._taken.add(entry.key)
        self._bytes += len(entry.value)
        self.problems.pop(entry.key, None)

    def _settle(self) -> bool:
        """Put in force what can be. What cannot stays waiting, with its reason."""
        changed = False
        for where, (moved, revision) in list(self._waiting.items()):
            try:
                if isinstance(moved, Record):
                    self._roll_out(moved)
                else:
                    self._put_in_force(moved)
            except RsppError as error:
                self._tell(where, error)
                continue
            del self._waiting[where]
            self._unsettled.discard(where)
            self.problems.pop(where, None)
            # One that had to wait for its document has effect now, whatever its own number is.
            self.revision = max(self.revision + 1, revision)
            changed = True
        return changed

    def _roll_out(self, record: Record) -> None:
        pipeline = record.rollout.pipeline
        for version in record.rollout.served:
            if (SPEC, pipeline, version) not in self._documents:
                raise _missing(SPEC, pipeline, version)
        self.rollouts[pipeline] = record

    def _put_in_force(self, pointer: Pointer) -> None:
        if pointer.kind not in (POLICY, PROVIDERS):
            return
        document = self._documents.get((pointer.kind, pointer.name, pointer.version))
        if document is None:
            raise _missing(pointer.kind, pointer.name, pointer.version)
        if pointer.kind == POLICY:
            policy = policy_of(document.text, document.ref, self._points)
            self.policies[pointer.name] = InForce(name=pointer.name, version=pointer.version, policy=policy)
        else:
            self.providers[pointer.name] = (pointer.version, provider_config_of(document.text, document.ref))

    def _tell(self, where: str, why: RsppError | str) -> None:
        if where in self.problems or len(self.problems) < PROBLEMS_MAX:
            self.problems[where] = why if isinstance(why, str) else f"{why.code}: {why.message}"


def _missing(kind: str, name: str, version: str) -> RsppError:
    return RsppError("document_missing", f"{kind}/{name}@{version} is in force and is not here")


async def unread(known: Knowledge, store: Store) -> list[str]:
    """The keys that are worth a look: documents that are not known yet, and then all that moves."""
    found = await store.keys(CONFIG)
    ours = {kind: [name for name in found if name.startswith(f"{kind}/")] for kind in (*KINDS, *MOVING)}
    return [name for names in ours.values() for name in names if not known.knows(name)]


async def read_into(known: Knowledge, store: Store, names: Sequence[str]) -> bool:
    """Read these. True if what is in force has changed."""
    changed = False
    for start in range(0, len(names), AT_ONCE):
        found = await asyncio.gather(*(store.get(CONFIG, name) for name in names[start : start + AT_ONCE]))
        for entry in found:
            changed |= entry is not None and known.take(entry)
    return changed


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a process knows, for whoever asks it."""

    revision: int
    documents: int
    policies: dict[str, str]
    providers: dict[str, str]
    rollouts: dict[str, tuple[str, str | None, int]]
    problems: dict[str, str]


def summary(known: Knowledge) -> Summary:
    return Summary(
        revision=known.revision,
        documents=known.documents,
        policies={name: one.version for name, one in known.policies.items()},
        providers={name: version for name, (version, _) in known.providers.items()},
        rollouts={
            name: (one.rollout.base, one.rollout.canary, one.rollout.percent)
            for name, one in known.rollouts.items()
        },
        problems=dict(known.problems),
    )
