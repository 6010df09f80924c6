"""`rspp control`: make a control plane, serve it, and everything that can be asked of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from rspp.cli.main import Entry, LazyGroup

EPILOG: Final = "Exit status: 0 done, 1 it was refused or could not be done, 2 the command was used wrongly."
ROOM: Final = "rspp.cli.control"

COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry(f"{ROOM}.init:command", "Begin a control plane: signing keys and the first admin's token."),
    "serve": Entry(f"{ROOM}.serve:command", "Serve the control plane: REST, OpenAPI, probes."),
    "operations": Entry(
        f"{ROOM}.operations:command", "Everything that can be asked, with routes and permissions."
    ),
    "fleet": Entry(
        f"{ROOM}.fleet:command", "How the control plane, its fleet and its providers fare; who you are."
    ),
    "pipelines": Entry(f"{ROOM}.pipelines:command", "Publish and look at versions of pipelines."),
    "rollout": Entry(
        f"{ROOM}.rollout:command", "Which version new sessions get: canary, promote, roll back, freeze."
    ),
    "policies": Entry(
        f"{ROOM}.policies:command", "Policies of a tenant or the fleet: publish, activate, roll back."
    ),
    "providers": Entry(f"{ROOM}.providers:command", "Provider configs: publish, activate, roll back."),
    "quotas": Entry(f"{ROOM}.quotas:command", "How much of everything a tenant may have."),
    "routes": Entry(
        f"{ROOM}.routes:command", "Where a caller goes, and the token that opens one session there."
    ),
    "sessions": Entry(f"{ROOM}.sessions:command", "What runs where; cancel, close, migrate, revoke."),
    "workers": Entry(f"{ROOM}.workers:command", "The processes of the fleet; drain one, cut one off."),
    "regions": Entry(f"{ROOM}.regions:command", "Regions' switches; where a tenant's sessions may be."),
    "keys": Entry(f"{ROOM}.keys:command", "Signing keys: list, rotate, revoke."),
    "principals": Entry(f"{ROOM}.principals:command", "Who may do what: roles, tokens."),
    "approvals": Entry(f"{ROOM}.approvals:command", "Propose a change; approve or reject one."),
    "audit": Entry(f"{ROOM}.audit:command", "Who did what: list, verify, export."),
    "backup": Entry(f"{ROOM}.backup:command", "Make a backup; restore one."),
    "work": Entry(f"{ROOM}.work:command", "Work sessions of the manifest; the signal that one waits for."),
}


@click.group(cls=LazyGroup, entries=COMMANDS, epilog=EPILOG)
def command() -> None:
    """Make a control plane, serve it, ask it.

    \b
    Begin on this machine:
        rspp control init --store sqlite://$PWD/control.db --keys keys --token-file admin.token
        rspp control serve --store sqlite://$PWD/control.db --keys keys
        export RSPP_CONTROL=http://127.0.0.1:8700 RSPP_TOKEN="$(cat admin.token)"
        rspp control fleet status
    """
