"""Contents are taken out of a recording that stays: its parts are written anew without what was said or heard.

The evidence, the control, every decision and the shape of everything stay, so what is left replays to the same decisions, and
says which payloads it does not have. Texts become stand-ins under a key that is thrown away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached
from rspp.contract.event import Text
from rspp.host.ports import Store
from rspp.kernel.inputs import CallProduced, ControlReceived, Input, TextReceived
from rspp.timeline import catalogue, parts
from rspp.timeline import records as r
from rspp.timeline.catalogue import Catalogued, Held, Stored
from rspp.timeline.packing import sound_of, unpack
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.session import SessionRedactor

_HIDE: Final = {"name": "retention", "everybody": {"text_raw": {"L0": "drop", "L1": "hash", "L2": "hash"}}}
_replace: Final = msgspec.structs.replace

Here = Callable[[int], bool]


class What(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken out, and of which inputs."""

    texts: bool
    sounds: bool
    here: Here = lambda _: True  # the steps it is taken out of
    whole: bool = True  # of all steps

    @property
    def any(self) -> bool:
        return self.texts or self.sounds


async def strip(store: Store, key: str, what: What, note: Callable[[Catalogued], None]) -> int:
    """Take it out of every part, and `note` it in the entry, in one step of the catalogue; how many parts have changed."""
    for _ in range(catalogue.CAS_TRIES_MAX):
        held = await catalogue.get(store, key)
        if held is None or held.entry.deleted:
            return 0
        pieces = [(part, await parts.read(store, part)) for part in held.entry.parts]
        if any(data is None for _, data in pieces):
            continue  # they have just been replaced
        stripper = _Stripper(what, held.entry.tenant_id)
        here = [(part, data) for part, data in pieces if data is not None]
        # On another thread: calls may go on beside it.
        old, new = await asyncio.to_thread(_changed, held, here, stripper)
        if await parts.replace(store, held, old, new, note):
            return len(new)
    raise LimitReached("store_contended", f"somebody else keeps changing the entry {key}")


def _changed(
    held: Held, pieces: list[tuple[Stored, bytes]], stripper: _Stripper
) -> tuple[list[Stored], list[parts.New]]:
    old, new = [], []
    for part, data in pieces:
        left = stripper.piece(data)
        if left != data:
            old.append(part)
            new.append((parts.made(held, part, part, left), left))
    return old, new


class _Stripper:
    """Goes through a recording's records in their order."""

    def __init__(self, what: What, tenant_id: str) -> None:
        self._what = what
        self._redactor = SessionRedactor(msgspec.convert(_HIDE, RedactionPolicy), tenant_id)
        self._hidden = 0

    def piece(self, data: bytes) -> bytes:
        """The records of a piece that are left; what a later version wrote there stays only if nothing is sought in it."""
        out = [self._record(record) for record in r.unframe(data).records]
        return b"".join(r.frame(record) for record in out if record is not None)

    def _record(self, record: r.AnyRecord) -> r.AnyRecord | None:
        match record:
            case r.Sound() if self._what.sounds:
                return self._sound(record)
            case r.Words() if self._what.texts:
                left = [text for text in record.texts if not self._what.here(text.step)]
                self._hidden += len(record.texts) - len(left)
                return r.Words(texts=left) if left else None
            case r.Head() if self._what.texts:
                request, graph = self._redactor.request(record.request), self._redactor.graph(record.graph)
                return _replace(record, request=request, graph=graph) if self._what.whole else record
            case r.Inputs() if self._what.texts:
                return self._inputs(record)
            case r.Steps() if self._what.texts:
                steps = [
                    _replace(one, stepped=self._redactor.stepped(one.stepped))
                    if self._what.here(one.step)
                    else one
                    for one in record.steps
                ]
                return r.Steps(steps=steps)
            case r.Trace() if self._what.texts:
                items = [
                    self._redactor.item(item) if self._what.here(item.step) else item for item in record.items
                ]
                return _replace(record, items=items, words=None)
            case r.End() if self._what.texts:
                return _replace(record, words=None, withheld_texts=record.withheld_texts + self._hidden)
        return record

    def _sound(self, record: r.Sound) -> r.Sound | None:
        steps, sizes, data, at = [], [], [], 0
        for step, size in zip(record.steps, record.sizes, strict=True):
            if not self._what.here(step):
                steps.append(step)
                sizes.append(size)
                data.append(record.data[at : at + size])
            at += size
        if not steps:
            return None
        masked = [step for step in record.masked if step in set(steps)]
        return r.Sound(steps=steps, sizes=sizes, data=b"".join(data), masked=masked)

    def _inputs(self, record: r.Inputs) -> r.Inputs:
        entries = list(record.entries)
        for place, (at, received) in enumerate(unpack(record)):
            step = record.first + place
            if sound_of(received) is None and type(entries[place]) is list and self._what.here(step):
                entry = entries[place]
                if type(entry[1]) is dict:
                    entries[place] = [entry[0], self._hide(step, at, received), *entry[2:]]
        return _replace(record, entries=entries)

    def _hide(self, step: int, at: int, received: Input) -> Input:
        hidden = self._redactor.take(step, at, received)
        if _has_text(received) and hidden != received:
            self._redactor.settled(all_of_it=False)
        return hidden


def _has_text(received: Input) -> bool:
    return isinstance(received, TextReceived | ControlReceived) or (
        isinstance(received, CallProduced) and isinstance(received.payload, Text)
    )
