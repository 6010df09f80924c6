"""A provider by its name: a kind that is installed, one that a pipeline sets up, or a factory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from rspp.cli.compose import READY, Installed, installed, pipeline_of
from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import Port
from rspp.cli.conformance.targets import Loaded, load, wrong
from rspp.contract.errors import MisuseError
from rspp.host.registry import settings_of


def provider_named(port: Port, request: Request) -> Loaded:
    """A factory of providers that takes a name and settings, whatever named it."""
    if ":" in request.target:
        return load(port, request.target)
    here = installed()
    name, settings = request.target, dict(request.settings)
    if request.pipeline:
        settings = {**_settings(here, request), **settings}
    kind_name = str(settings.pop("use", name))
    kind = here.table.get(kind_name)
    if kind is None:
        asked = port.name.partition(".")[2]
        known = sorted(one.name for one in here.kinds if asked in ("", one.modality))
        raise wrong(port, f"no provider {kind_name[:80]!r} is installed here; there are {', '.join(known)}.")
    if here.state(kind_name) != READY:
        raise MisuseError(
            "conformance_target_wrong", f"{kind_name} cannot run here: {here.state(kind_name)}", "target"
        )
    source = next(one.source for one in here.kinds if one.name == kind_name)
    factory = kind.factory

    def make() -> object:
        return factory(name, settings)

    make.__module__ = source.partition(":")[0]
    return Loaded(f"{source.partition(':')[0]}:{kind_name}", make)


def _settings(here: Installed, request: Request) -> dict[str, object]:
    pipeline = pipeline_of(Path(request.pipeline), here)
    if pipeline.graph is None:
        first = next(iter(pipeline.problems), "it has no graph")
        raise MisuseError(
            "conformance_target_wrong", f"{request.pipeline} cannot be used: {first}", "pipeline"
        )
    found = settings_of(pipeline.graph, request.target)
    named = {one for names in pipeline.graph.providers.values() for one in names}
    if not found and request.target not in named:
        known = ", ".join(sorted({*named, *pipeline.graph.provider_settings}))
        raise MisuseError(
            "conformance_target_wrong",
            f"{request.pipeline} has no provider {request.target!r}; it has {known or 'none'}",
            "target",
        )
    return dict(msgspec.to_builtins(found))
