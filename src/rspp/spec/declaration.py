"""What a custom node says of itself: its name and version, its ports, its settings, how it is run.

A declaration becomes a node type of the catalogue, so a custom node is checked as a built-in one is: an unknown
setting, a wrong port, a wire of the wrong kind are reported with their line. Nothing here imports the node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import inspect

from rspp.contract.words import EventKind
from rspp.spec.catalog import Config, NodeType
from rspp.spec.check import is_readable
from rspp.spec.graph import Lifetime, Port, Role

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
PORT: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
SCOPES: Final = ("session", "turn", None)
# What a node may give: signals are the kernel's alone, and a call gives no faults.
GIVES: Final = frozenset(set(EventKind) - {EventKind.CONTROL})


class NodeKind(StrEnum):
    """`sync` runs inside the step and never waits; `async` is a call: it may wait, and its output is recorded."""

    SYNC = "sync"
    ASYNC = "async"


class NodeDeclaration(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a custom node: a class attribute called `declaration`.

    `scope` None: that of what feeds it. `lifetime` is an async node's: one run for each event, turn or session.
    """

    name: str
    version: str
    inputs: Mapping[str, tuple[EventKind, ...]] = {}
    outputs: Mapping[str, tuple[EventKind, ...]] = {}
    config: type[msgspec.Struct] = Config
    kind: NodeKind = NodeKind.SYNC
    scope: str | None = None
    lifetime: Lifetime = Lifetime.EVENT
    summary: str = "Your own node."


def faults(declaration: NodeDeclaration) -> Iterator[str]:
    """Everything that is wrong with a declaration, in words."""
    if not _fits(NAME, declaration.name):
        yield f"its name does not have the form {NAME.pattern}"
    if not _fits(VERSION, declaration.version):
        yield f"its version does not have the form {VERSION.pattern}"
    if declaration.kind not in set(NodeKind):
        yield f"its kind is not one of {', '.join(NodeKind)}"
    if declaration.scope not in SCOPES:
        yield "its scope is not session, turn or None"
    if declaration.kind == NodeKind.ASYNC and declaration.lifetime == Lifetime.SESSION:
        if declaration.scope == "turn":
            yield "it runs for the session, so its scope cannot be a turn"
    elif declaration.kind == NodeKind.ASYNC and declaration.scope == "session":
        yield "a session's async node runs for the session: set its lifetime to session"
    if not declaration.inputs and not declaration.outputs:
        yield "it has no ports"
    yield from _port_faults(declaration)
    yield from _config_faults(declaration.config)


def _fits(pattern: re.Pattern[str], word: object) -> bool:
    return isinstance(word, str) and pattern.fullmatch(word) is not None


def _port_faults(declaration: NodeDeclaration) -> Iterator[str]:
    for side, ports in (("input", declaration.inputs), ("output", declaration.outputs)):
        for name, kinds in ports.items():
            if not _fits(PORT, name):
                yield f"the {side} {str(name)[:40]!r} does not have the form {PORT.pattern}"
            if not _are_kinds(kinds):
                yield f"the {side} '{name}' does not list event kinds, such as (EventKind.TEXT,)"
            elif side == "output" and not GIVES.issuperset(kinds):
                yield f"the output '{name}' gives control: only the kernel emits signals"


def _are_kinds(kinds: object) -> bool:
    return isinstance(kinds, tuple) and bool(kinds) and all(kind in set(EventKind) for kind in kinds)


def _config_faults(config: object) -> Iterator[str]:
    if not isinstance(config, type) or not issubclass(config, msgspec.Struct):
        yield "its config is not a msgspec Struct"
        return
    if not config.__struct_config__.forbid_unknown_fields:
        yield "its config lets unknown fields pass: derive it from rspp.Config"
    try:
        described = inspect.type_info(config)
    except (TypeError, NameError) as error:
        yield f"its config cannot be described: {type(error).__name__}"
        return
    assert isinstance(described, inspect.StructType)
    for field in described.fields:
        if not is_readable(field.type):
            yield f"the config field '{field.name}' has a type that a spec cannot hold; a list is a tuple[X, ...]"


def type_of(declaration: NodeDeclaration, key: str) -> NodeType:
    """The declaration as a node type, under the name by which a graph asks for it."""
    is_async = declaration.kind == NodeKind.ASYNC
    lasting = is_async and declaration.lifetime == Lifetime.SESSION
    scope = "session" if lasting else declaration.scope or ("turn" if is_async else None)
    return NodeType(
        name=key,
        summary=declaration.summary,
        role=Role.CALL if is_async else Role.SYNC,
        scope=scope,
        inputs=_ports(declaration.inputs),
        outputs=_ports(declaration.outputs),
        lifetime=declaration.lifetime if is_async else None,
        config=declaration.config,
        version=declaration.version,
    )


def _ports(ports: Mapping[str, tuple[EventKind, ...]]) -> tuple[Port, ...]:
    return tuple(Port(name=name, kinds=kinds) for name, kinds in ports.items())
