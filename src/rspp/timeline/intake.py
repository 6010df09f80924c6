"""A recording from a file, taken into the store as if it had been recorded here; the same file twice is one recording.

A session of the same id that is here already stays as it is: what comes is another run of it, under `<session>~<run>`.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError
from rspp.host.ports import Store
from rspp.timeline import catalogue
from rspp.timeline.catalogue import Stored
from rspp.timeline.exchange import Checked, pieces_of

PIECE_BYTES: Final = 4 * 1024 * 1024
ORIGIN: Final = "import"


class TakenIn(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is now; `new` is False if it was here already."""

    session_id: str
    tenant_id: str
    name: str
    bytes: int
    inputs: int
    turns: int
    cut: int
    new: bool


async def take_in(store: Store, file: Checked, wall_ms: int) -> TakenIn:
    """Store a recording whose file was looked at; it counts once its entry names its parts."""
    recording, data = file.recording, file.data
    run = f"{ORIGIN}-{hashlib.sha256(data).hexdigest()[:24]}.1"  # as a recorder's: whose it is, a dot, which
    for _ in range(catalogue.CAS_TRIES_MAX):
        key, held = await catalogue.of_run(store, recording.tenant_id, recording.session_id, run)
        entry = catalogue.begun(key, recording.tenant_id, recording.session_id, run)
        if held is not None and held.entry.deleted:
            raise MisuseError(
                "session_deleted", f"{entry.name} was deleted here, and stays so for some weeks"
            )
        if held is not None:
            return _said(file, entry.name, new=False)
        through = 0
        for number, piece in enumerate(pieces_of(data, PIECE_BYTES), 1):
            name = f"{run}-{number:06d}"
            blob = catalogue.blob_of(key, name)
            await store.put_blob(blob, piece)
            through = max(through, catalogue.told(entry, piece))
            entry.parts.append(
                Stored(
                    part=name,
                    number=number,
                    last=number,
                    blob=blob,
                    size=len(piece),
                    sha256=hashlib.sha256(piece).hexdigest(),
                    through=through,
                )
            )
        entry.origin = ORIGIN
        entry.complete = True
        entry.recorded_through = max(entry.recorded_through, through)
        entry.exported_through, entry.exported_wall_ms = through, wall_ms
        if await catalogue.put(store, key, entry, 0) is not None:
            return _said(file, entry.name, new=True)
    raise LimitReached("store_contended", f"somebody else keeps changing the entry of {recording.session_id}")


def _said(file: Checked, name: str, *, new: bool) -> TakenIn:
    recording = file.recording
    return TakenIn(
        session_id=recording.session_id,
        tenant_id=recording.tenant_id,
        name=name,
        bytes=len(file.data),
        inputs=len(recording.inputs),
        turns=len(recording.evidence),
        cut=file.cut,
        new=new,
    )
