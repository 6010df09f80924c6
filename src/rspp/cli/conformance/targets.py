"""A target by its name: `module:attribute`, `file.py:attribute`, or a name that a package offers, or one of ours.

What is no target is told as wrong usage, with what is expected. What is meant as one and raises while it is loaded has failed.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from rspp.cli.conformance.ports import GROUP, Port
from rspp.contract.errors import MisuseError
from rspp.host.discovery import GROUP as NODE_GROUP
from rspp.spec.catalog import DEFAULT
from rspp.spec.graph import Role

OURS_AT: Final = "rspp.cli.conformance.ours"
# Targets that come with RSPP, by port and name.
OURS: Final[Mapping[str, Mapping[str, str]]] = {
    "store": {"memory": f"{OURS_AT}:memory_store", "sqlite": f"{OURS_AT}:sqlite_store"},
    "transport": {"websocket": f"{OURS_AT}:websocket_transport", "loopback": f"{OURS_AT}:loopback_transport"},
    "recorder": {"memory": f"{OURS_AT}:memory_recorder", "spool": f"{OURS_AT}:spool_recorder"},
    "clock": {"machine": f"{OURS_AT}:machine_clock"},
    "inference": {"silero": f"{OURS_AT}:silero_inference", "smart-turn": f"{OURS_AT}:smart_turn_inference"},
    "lane_scheduler": {"fair": "rspp.host.scheduler:FairScheduler"},
    "pool_strategy": {"fair": "rspp.host.pools:Fair", "fifo": "rspp.host.pools:Fifo"},
}


class Loaded(msgspec.Struct, frozen=True):
    """What a name came to, before it was called."""

    reference: str
    value: object


class LoadError(Exception):
    """It is there and cannot be loaded: what it raised."""


def wrong(port: Port, why: str) -> MisuseError:
    """No target for this port: why, what is expected, and an example."""
    return MisuseError(
        "conformance_target_wrong",
        f"{why}\nExpected for {port.name}: {port.target}.\nExample: {port.example}",
        "target",
    )


def load(port: Port, target: str) -> Loaded:
    """The object that a target names; raises `MisuseError` for what is none and `LoadError` for what cannot be loaded."""
    place, colon, attribute = target.rpartition(":")
    if not colon:
        return _by_name(port, target)
    if not place or not attribute:
        raise wrong(port, f"{target[:80]!r} does not have the form module:attribute or file.py:attribute.")
    module = _of_file(port, Path(place)) if place.endswith(".py") else _of_module(port, place)
    return Loaded(f"{module.__name__}:{attribute}", _attribute(port, module, attribute))


def _attribute(port: Port, module: ModuleType, attribute: str) -> object:
    found: object = module
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise wrong(port, f"{module.__name__} has no {attribute!r}; it has {_offered(module)}.")
        found = getattr(found, step)
    return found


def _offered(module: ModuleType) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    ]
    return ", ".join(own[:8]) or "nothing that could be called"


def _of_module(port: Port, name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise wrong(port, f"there is no module {name!r} here.") from None
        raise LoadError(f"{name} needs the module {error.name}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise LoadError(f"importing {name} raised {type(error).__name__}: {error}") from error


def _of_file(port: Port, file: Path) -> ModuleType:
    """A file's module; what stands beside it can be imported by it."""
    if not file.is_file():
        raise wrong(port, f"there is no file {file}.")
    name = file.stem
    if not name.isidentifier():
        raise wrong(port, f"{file.name} cannot be imported: its name is no name of a module.")
    folder = str(file.resolve().parent)
    if name in sys.modules or name in sys.stdlib_module_names:
        raise wrong(port, f"{file.name} has the name of another module, {name}; rename it.")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise wrong(port, f"{file} is no Python file.")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise LoadError(f"importing {file.name} raised {type(error).__name__}: {error}") from error
    return module


def _by_name(port: Port, name: str) -> Loaded:
    """One of ours, or what a package offers under this name."""
    ours = OURS.get(port.name, {})
    points = offered(port.name)
    found = [point for point in points if point.name == name]
    if len({point.value for point in found}) > 1:
        raise wrong(port, f"more than one package offers {name!r}: {', '.join(p.value for p in found)}.")
    if found:
        return Loaded(found[0].value, _loaded(found[0]))
    if name in ours:
        return load(port, ours[name])
    if port.name == "node" and name in built_in_nodes():
        return Loaded(f"rspp.nodes:{name}", name)
    known = ", ".join(sorted({*ours, *(point.name for point in points)})) or "none"
    hint = _hint(name)
    raise wrong(port, f"there is no target {name[:80]!r} for this port; by name there are: {known}.{hint}")


def _hint(name: str) -> str:
    if name.endswith(".py"):
        return f" Name what is to be tried in the file: {name}:NAME."
    try:
        there = name.isidentifier() and find_spec(name) is not None
    except (ImportError, ValueError):
        there = False
    return f" Name what is to be tried in the module: {name}:NAME." if there else ""


def _loaded(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        raise LoadError(f"loading {point.value} raised {type(error).__name__}: {error}") from error


def offered(port: str) -> Sequence[EntryPoint]:
    """What packages offer for a port: targets, and for nodes the classes themselves."""
    own = tuple(entry_points(group=f"{GROUP}{port}"))
    return (*own, *entry_points(group=NODE_GROUP)) if port in ("node", "async_node") else own


def built_in_nodes() -> Sequence[str]:
    """The types of sync nodes that come with RSPP."""
    return [
        name for name, kind in DEFAULT.types.items() if kind.role is Role.SYNC and kind.config is not None
    ]


def call(port: Port, factory: object, *offers: object) -> object:
    """What a factory gives when it is called with as many of these as it takes; what it raises is its own failure."""
    if not callable(factory):
        raise wrong(port, f"it is a {type(factory).__name__}, which cannot be called.")
    if inspect.iscoroutinefunction(factory):
        raise wrong(port, "it is a coroutine function; a factory is a plain function.")
    count = arity(factory)
    if count > len(offers):
        raise wrong(port, f"it takes {count} arguments, and is given at most {len(offers)}.")
    return factory(*offers[:count])


def arity(factory: Callable[..., object]) -> int:
    """How many arguments must be given to it."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.default is inspect.Parameter.empty and one.kind in positional for one in parameters)
