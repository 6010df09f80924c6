"""What releases write for each other: the shape of every record in the shared store, found by who reads it.

python -m tests.features.stored > tests/features/stored_records.json
"""

from __future__ import annotations

import hashlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

import rspp.control
import rspp.ops
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.control.identity import Drawn
from rspp.control.security.approvals import ApprovalPolicy
from rspp.control.security.keys import KeyRecord
from rspp.control.security.principals import PrincipalRecord
from rspp.host.durable import Saved

KEPT: Final = Path(__file__).with_name("stored_records.json")
ROOMS: Final = (rspp.control, rspp.ops)
MORE: Final = ("rspp.host.conditions", "rspp.server.acting")
# Between a process and those that it starts itself, of one build.
WITHIN: Final = ("rspp.control.supervisor",)
# They are read through `Records`, which is told the kind each time.
BY_RECORDS: Final = (ApprovalPolicy, Drawn, KeyRecord, PrincipalRecord)
_TOLD: Final = re.compile(r"(?:\.(?:read|change)|decoded)\([^,()]*(?:\([^()]*\))?,\s*([A-Z]\w+)[,)]")


def told_to_records() -> set[str]:
    """The kinds that the control plane's source hands to `Records`."""
    (home,) = rspp.control.__path__
    return {name for file in Path(home).rglob("*.py") for name in _TOLD.findall(file.read_text())}


def shapes() -> Mapping[str, str]:
    """Of each record a digest of its fields and their types, and the fields' names; `?` may be left out."""
    return dict(
        sorted(
            (f"{one.__module__}:{one.__qualname__}", _shape(one)) for one in {*_read(), *BY_RECORDS, Saved}
        )
    )


def _shape(kind: Any) -> str:
    parts = _bare(msgspec.json.schema(kind, schema_hook=lambda one: {"of": one.__qualname__}))
    digest = hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]
    names = [field.encode_name + ("" if field.required else "?") for field in msgspec.structs.fields(kind)]
    return " ".join([digest, *names])


def _bare(schema: Any) -> Any:
    """Without what is written for people."""
    if isinstance(schema, dict):
        return {key: _bare(one) for key, one in schema.items() if key not in ("description", "title")}
    return [_bare(one) for one in schema] if isinstance(schema, list) else schema


def _read() -> Iterator[Any]:
    """What the control plane, the journal and the hosts have a reader for."""
    names = [one.name for home in ROOMS for one in pkgutil.walk_packages(home.__path__, f"{home.__name__}.")]
    for name in (*names, *MORE):
        if name.startswith(WITHIN):
            continue
        for value in list(vars(import_module(name)).values()):
            reader = getattr(value, "__self__", value)
            if isinstance(reader, msgspec.json.Decoder | msgspec.msgpack.Decoder):
                yield reader.type


def document() -> bytes:
    whole = {"schema": CORE_SCHEMA_VERSION, "records": shapes()}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(document())
