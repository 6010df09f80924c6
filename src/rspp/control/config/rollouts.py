"""The rollouts in the store: each change is one compare-and-set, names versions that were published, and is remembered.

config:rollout/<pipeline>       a `Record`: the rollout in force and the changes that led to it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault, RsppError
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control.config.documents import MOVES_MAX, TRIES_MAX, WORDS_MAX, Versions, WallMs
from rspp.control.config.rollout import BY_BUDGET, Rollout, begin, checked, governed
from rspp.control.names import CONFIG, key, parts
from rspp.host.ports import Entry, Store

ROLLOUT: Final = "rollout"
SPEC: Final = "spec"


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done to a rollout, by whom and why; `base`, `canary` and `percent` are those after it."""

    what: str
    base: str
    canary: str | None
    percent: int
    author: str
    reason: str
    at_ms: int


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    rollout: Rollout
    number: int  # of changes ever
    changes: tuple[Change, ...] = ()


_DECODE: Final = msgspec.json.Decoder(Record).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def record_of(entry: Entry) -> Record:
    """A rollout's record; raises PeerFault `document_corrupt`."""
    try:
        found = _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault("document_corrupt", "the stored bytes are no rollout", entry.key) from error
    if parts(entry.key) != (ROLLOUT, found.rollout.pipeline):
        raise PeerFault(
            "document_corrupt", f"the rollout says that it is of {found.rollout.pipeline}", entry.key
        )
    return found


def row_of(key: str, value: bytes) -> Row | None:
    """A pipeline's rollout as an operator sees it."""
    try:
        record = record_of(Entry(key, value, 0))
    except RsppError:
        return None
    rollout, last = record.rollout, record.changes[-1] if record.changes else None
    level, reason, message = Level.OK, "", ""
    if rollout.frozen:
        burned = rollout.frozen_by == BY_BUDGET
        level, reason = Level.DEGRADED if burned else Level.NOTICE, "rollout_frozen"
        message = cut(f"{rollout.pipeline} is frozen by {rollout.frozen_by}: {rollout.frozen_reason}")
    return Row(
        aggregate_id=rollout.pipeline,
        state="frozen" if rollout.frozen else "canary" if rollout.canary else "steady",
        level=level,
        reason=reason,
        message=message,
        since_ms=last.at_ms if last is not None else 0,
        facts={
            "pipeline": cut(rollout.pipeline),
            "base": cut(rollout.base),
            "canary": cut(rollout.canary or ""),
            "percent": rollout.percent,
            "tenants": len(rollout.tenants),
            "former_base": cut(rollout.bases[-1]) if rollout.bases else "",
            "frozen_by": cut(rollout.frozen_by),
            "changes": record.number,
            "author": cut(last.author) if last is not None else "",
        },
    )


SURFACE: Final = Surface(
    name="rollouts",
    owner=__name__,
    summary="Which version of each pipeline new sessions get, and whether that may change now.",
    aggregate_type="pipeline",
    storage=f"kv:{CONFIG}",
    truth=Truth.CANONICAL,
    read="GET /v1/rollouts",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(CONFIG, f"{ROLLOUT}/"),
    row=row_of,
)


class Rollouts:
    """The rollouts of all pipelines."""

    def __init__(self, store: Store, *, wall_ms: WallMs) -> None:
        self._store = store
        self._wall_ms = wall_ms
        self._versions = Versions(store, SPEC, wall_ms=wall_ms)

    async def pipelines(self) -> list[str]:
        return [parts(one)[1] for one in await self._store.keys(CONFIG, key(ROLLOUT) + "/")]

    async def get(self, pipeline: str) -> Record | None:
        entry = await self._store.get(CONFIG, key(ROLLOUT, pipeline))
        return record_of(entry) if entry is not None else None

    async def want(self, pipeline: str) -> Record:
        found = await self.get(pipeline)
        if found is None:
            raise PeerFault("rollout_missing", f"nothing of {pipeline} is rolled out")
        return found

    async def begin(self, pipeline: str, base: str, *, author: str, reason: str = "") -> Record:
        """Serve a pipeline. One that is served already goes on as it is, or is refused if its base is another."""

        def first(now: Rollout | None) -> Rollout:
            if now is not None and now.base != base:
                raise MisuseError(
                    "rollout_exists", f"{pipeline} is served at {now.base}; roll out {base} as its canary"
                )
            return now or begin(pipeline, base)

        return await self._change(pipeline, "begin", first, author, reason)

    async def change(
        self,
        pipeline: str,
        what: str,
        change: Callable[[Rollout], Rollout],
        *,
        author: str,
        reason: str = "",
        number: int | None = None,
    ) -> Record:
        """Apply one of the changes of `rspp.control.config.rollout`; with `number` only to a rollout of so many changes."""

        def next_of(now: Rollout | None) -> Rollout:
            if now is None:
                raise PeerFault("rollout_missing", f"nothing of {pipeline} is rolled out")
            return change(now)

        return await self._change(pipeline, what, next_of, author, reason, number)

    async def govern(self, pipeline: str, *, burned: bool, reason: str) -> Record:
        """Freeze or free as the error budget has it."""
        what = "freeze" if burned else "unfreeze"
        return await self.change(
            pipeline, what, lambda now: governed(now, burned, reason), author="error_budget", reason=reason
        )

    async def _change(
        self,
        pipeline: str,
        what: str,
        change: Callable[[Rollout | None], Rollout],
        author: str,
        reason: str,
        number: int | None = None,
    ) -> Record:
        if not author or max(len(author), len(reason)) > WORDS_MAX:
            raise MisuseError(
                "field_empty", f"a change has an author, and a reason of at most {WORDS_MAX} characters"
            )
        where = key(ROLLOUT, pipeline)
        for _ in range(TRIES_MAX):
            entry = await self._store.get(CONFIG, where)
            now = record_of(entry) if entry is not None else None
            if now is not None and number not in (None, now.number):
                message = f"the rollout of {pipeline} was changed meanwhile: look at it again"
                raise MisuseError("rollout_changed", message, "number")
            wanted = change(now.rollout if now is not None else None)
            if now is not None and wanted == now.rollout:
                return now
            for version in wanted.served:
                await self._versions.get(pipeline, version)  # a document that is corrupt cannot be rolled out
            checked(wanted, await self._versions.versions(pipeline))
            done = Change(
                what=what,
                base=wanted.base,
                canary=wanted.canary,
                percent=wanted.percent,
                author=author,
                reason=reason,
                at_ms=self._wall_ms(),
            )
            record = Record(
                rollout=wanted,
                number=(now.number if now else 0) + 1,
                changes=((now.changes if now else ()) + (done,))[-MOVES_MAX:],
            )
            expect = entry.revision if entry is not None else 0
            if await self._store.put(CONFIG, where, _ENCODE(record), expect=expect) is not None:
                return record
        raise LimitReached("store_contended", f"others keep changing the rollout of {pipeline}")
