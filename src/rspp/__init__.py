"""The realtime speech pipeline platform: what decides is pure, what waits is outside.

What the author of a node imports is here by name, and loaded when it is first asked for: `import rspp` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rspp.contract.event import Audio, Event, Fault, Note, Sample, Text
    from rspp.contract.words import CancelReason, EventKind, OutcomeClass
    from rspp.host.node import AsyncNode, Node
    from rspp.host.ports import EndOfFeed, LiveCall, ProviderError
    from rspp.kernel.hosting import Context
    from rspp.kernel.state import StateClass
    from rspp.spec.catalog import Config
    from rspp.spec.declaration import NodeDeclaration, NodeKind
    from rspp.spec.graph import Lifetime

__version__ = "0.1.0"

__all__ = [
    "AsyncNode",
    "Audio",
    "CancelReason",
    "Config",
    "Context",
    "EndOfFeed",
    "Event",
    "EventKind",
    "Fault",
    "Lifetime",
    "LiveCall",
    "Node",
    "NodeDeclaration",
    "NodeKind",
    "Note",
    "OutcomeClass",
    "ProviderError",
    "Sample",
    "StateClass",
    "Text",
    "__version__",
]

_HOMES: Final = {
    "rspp.contract.event": ("Audio", "Event", "Fault", "Note", "Sample", "Text"),
    "rspp.contract.words": ("CancelReason", "EventKind", "OutcomeClass"),
    "rspp.host.node": ("AsyncNode", "Node"),
    "rspp.host.ports": ("EndOfFeed", "LiveCall", "ProviderError"),
    "rspp.kernel.hosting": ("Context",),
    "rspp.kernel.state": ("StateClass",),
    "rspp.spec.catalog": ("Config",),
    "rspp.spec.declaration": ("NodeDeclaration", "NodeKind"),
    "rspp.spec.graph": ("Lifetime",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'rspp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
