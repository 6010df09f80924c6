"""The pipeline of `rspp run --control` in the registry: published as its own `name@version`, and served if nothing of it is.

Everything is asked of the control plane as any operator would ask it, so it is checked and on record like anybody's change.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.control.init import write_token
from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call
from rspp.control.operations.people import TOKEN_MS_MAX, token_for
from rspp.control.plane import ControlPlane, os_principal
from rspp.control.security.roles import EVERYWHERE, Role, is_admin_everywhere

BEGUN: Final = "the file that this process was started with"
EDITED: Final = "the file was edited"
DEV_ADMIN: Final = "dev"
DEV: Final = "dev mode of this machine"


async def publish(plane: ControlPlane, text: str, pipeline: str, version: str) -> str:
    """Publish it, and begin its rollout if there is none; which version new sessions get. Raises `MisuseError`."""
    there = await plane.registry.get(pipeline, version)
    if there is not None and there.text != text:
        raise MisuseError(
            "version_exists",
            f"{pipeline}@{version} was published by {there.author} with other content, and stays what it is. "
            f"Give the file a new `version` and publish that, or look at what is there: "
            f"rspp control pipelines show {pipeline} {version}",
        )
    if there is None:
        await _ask(plane, "pipelines.publish", text=text)
    record = await plane.rollouts.get(pipeline)
    if record is None:
        await _ask(plane, "rollout.begin", pipeline=pipeline, version=version, reason=BEGUN)
        return version
    return record.rollout.base


async def lead(plane: ControlPlane, pipeline: str, version: str) -> None:
    """Every new session gets this version; those that run keep theirs."""
    record = await plane.rollouts.want(pipeline)
    if record.rollout.base == version:
        return
    await _ask(plane, "rollout.canary", pipeline=pipeline, version=version, percent=100, reason=EDITED)
    await _ask(plane, "rollout.promote", pipeline=pipeline, version=version, reason=EDITED)


async def _ask(plane: ControlPlane, name: str, **fields: Any) -> None:
    operation = operation_named(name)
    await call(plane, os_principal(), operation, msgspec.convert(fields, operation.request))


async def dev_token(plane: ControlPlane, file: Path) -> None:
    """The token of an admin of dev mode, in a file that nobody else can read."""
    by = os_principal()
    known = await plane.principals.get(DEV_ADMIN)
    if known is None:
        await plane.principals.add(by, DEV_ADMIN, DEV)
    if known is None or not is_admin_everywhere(known.principal):
        await plane.principals.grant(by, DEV_ADMIN, EVERYWHERE, Role.ADMIN, DEV)
    try:
        issued = token_for(plane, DEV_ADMIN, TOKEN_MS_MAX)
    except PeerFault:  # the key lies here, and is too old, or others' keys were there before it
        await plane.rotation.rotate(by.id, DEV, at_once=True)
        issued = token_for(plane, DEV_ADMIN, TOKEN_MS_MAX)
    _write_anew(file, issued.token)
    await plane.audit.done(by.id, "principals.token", None, DEV, {"principal": DEV_ADMIN})


def _write_anew(file: Path, token: str) -> None:
    """A process that ended badly may have left its own there."""
    file.unlink(missing_ok=True)
    write_token(file, token)
