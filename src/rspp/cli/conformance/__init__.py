"""`rspp conformance PORT TARGET`: the shipped suites against anybody's transport, provider, node or store.

`ports` is the table of ports, `targets` finds what a name means, `making` makes it ready for its suite, `child` is the process in
which it runs, `runner` the one that forms the verdict, `issuing` writes the certificate, `checking` looks at one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rspp.cli.conformance.commands import command

__all__ = ["command"]


def __getattr__(name: str) -> object:
    """The command, loaded when it is asked for: the process of a target is of this package too, and needs none of it."""
    if name == "command":
        return import_module("rspp.cli.conformance.commands").command
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
