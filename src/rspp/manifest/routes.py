"""What a step must do, as somebody hands it in: ROUTING itself, a mapping, or a file of YAML or JSON with its keys.

A file may hold the keys themselves, or have them under `ROUTING` or `ROUTE_TOKEN`. Keys that are left out are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.manifest import disk, form, shape, tree
from rspp.manifest.document import Routing
from rspp.manifest.faults import Fault, ManifestError

ROUTE_BYTES_MAX: Final = 256 * 1024
_UNDER: Final = ("ROUTING", "ROUTE_TOKEN")


def read(route: Routing | Mapping[str, Any] | str | Path, folder: Path) -> Routing:
    """The ROUTING that is meant; raises with all that is wrong. A file is looked for from the manifest's folder."""
    if isinstance(route, Routing):
        return route
    if isinstance(route, Mapping):
        try:
            return msgspec.convert(dict(route), Routing)
        except (msgspec.ValidationError, TypeError) as error:
            raise ManifestError("manifest_route_invalid", f"this is no ROUTING: {error}") from error
    path = folder / route
    found = disk.read(path, ROUTE_BYTES_MAX)
    if found is None:
        raise ManifestError("manifest_route_invalid", f"there is no file {path.name}")
    if len(found[0]) > ROUTE_BYTES_MAX:
        raise ManifestError("manifest_route_invalid", f"{path.name} has more than {ROUTE_BYTES_MAX} bytes")
    text = form.decode(found[0], path.name)
    if isinstance(text, Fault):
        raise ManifestError("manifest_route_invalid", f"{path.name} is no ROUTING", (text,))
    return parse(text, path.name)


def parse(text: str, name: str) -> Routing:
    """The ROUTING of a text in YAML, of which JSON is a kind."""
    found = tree.read(text.removeprefix(form.BOM), name)
    root, faults = found.root, found.faults
    if root is not None and len(root.entries) == 1 and (under := next(iter(root.entries))) in _UNDER:
        inner = root.entries[under]
        if isinstance(inner, tree.Mapping):
            root = inner
    if root is not None and not faults:
        routing, faults = shape.routing_of(root, name)
        if routing is not None:
            return routing
    raise ManifestError("manifest_route_invalid", f"{name} is no ROUTING", faults)


__all__ = ["parse", "read"]
