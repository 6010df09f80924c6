"""Backups: one file with everything that cannot be made again, and the way back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.contract.errors import MisuseError
from rspp.contract.event import NS_PER_MS
from rspp.control import backup as files
from rspp.control.backup import BACKUP_BYTES_MAX, Restored
from rspp.control.operations.operation import Nothing, Operation, Request, Response
from rspp.control.operations.words import Reason
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane


RESTORE: Final = "backup.restore"
RESTORE_PATH: Final = "/v1/backups/restore"


class MadeBackup(Response, frozen=True, kw_only=True):
    """The file as text, and the hash of the whole of it: keep both, and not in one place."""

    entries: int
    made_at_ms: int
    bytes: int
    sha256: str
    data: str


class RestoreBackup(Request, frozen=True, kw_only=True):
    data: Annotated[
        str, Meta(min_length=1, max_length=BACKUP_BYTES_MAX, description="The file.", extra={"file": True})
    ]
    replace: Annotated[bool, Meta(description="Overwrite what is there with other values.")] = False
    reason: Reason


async def make(plane: ControlPlane, principal: Principal, _: Nothing) -> MadeBackup:
    data = await files.make(plane.store, plane.kept_buckets, made_by=principal.id, now_ms=plane.wall_ms())
    header = files.read(data, plane.kept_buckets).header  # what cannot be read back is no backup
    return MadeBackup(
        entries=header.entries,
        made_at_ms=header.made_at_ms,
        bytes=len(data),
        sha256=header.sha256,
        data=data.decode(),
    )


async def restore(plane: ControlPlane, by: Principal, asked: RestoreBackup) -> Restored:
    """Where changes wait for consent this does too, or it would be the way around it. Consent is given to a file by its hash."""
    began = plane.clock.now()
    try:
        data = asked.data.encode()
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a backup is text", "data") from None
    found = files.read(data, plane.kept_buckets)
    await plane.approvals.require(RESTORE, RESTORE_PATH, found.header.sha256, by)
    written, kept = await files.restore(plane.store, found, replace=asked.replace)
    took_ms = (plane.clock.now() - began) // NS_PER_MS
    result = files.result_of(found, written, now_ms=plane.wall_ms(), took_ms=took_ms, kept=kept)
    await files.keep_result(plane.store, result)
    return result


class RestoreList(Response, frozen=True, kw_only=True):
    items: list[Restored]


async def restores(plane: ControlPlane, _: Principal, __: Nothing) -> RestoreList:
    return RestoreList(items=await files.results(plane.store))


BACKUPS: Final = (
    Operation(
        name="backup.make",
        method="POST",
        path="/v1/backups",
        request=Nothing,
        response=MadeBackup,
        permission=Permission.BACKUP_MAKE,
        handler=make,
        summary="Make a backup of everything that the control plane cannot make again.",
        idempotent=True,
    ),
    Operation(
        name=RESTORE,
        method="POST",
        path=RESTORE_PATH,
        request=RestoreBackup,
        response=Restored,
        permission=Permission.BACKUP_RESTORE,
        handler=restore,
        summary="Restore a backup; one that is not whole is refused before anything is written.",
        example={"data": "...", "reason": "the store was lost"},
        body_bytes_max=2 * BACKUP_BYTES_MAX,
        idempotent=True,
    ),
    Operation(
        name="backup.restores",
        method="GET",
        path="/v1/backups/restores",
        request=Nothing,
        response=RestoreList,
        permission=Permission.BACKUP_RESTORE,
        handler=restores,
        summary="List what restores came to: how long they took, and how much was lost.",
    ),
)
