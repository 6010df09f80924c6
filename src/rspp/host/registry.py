"""What a host can run: kinds of providers, sync nodes and async nodes, by name. A value that is put together by whoever makes
the host; nothing registers itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from rspp.contract.errors import MisuseError
from rspp.host.ports import AnyProvider, AsyncNode, ProviderFactory, ProviderInfo
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import GraphDefinition, Role

AsyncNodeFactory = Callable[[Mapping[str, object]], AsyncNode]

NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


class ProviderKind(NamedTuple):
    """One kind of provider: what it is for, and how one is made from its settings."""

    modality: str
    factory: ProviderFactory
    summary: str = ""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Everything by name. `defaults` names a provider for a modality for which a pipeline names none."""

    providers: Mapping[str, ProviderKind] = {}
    nodes: Mapping[str, NodeFactory] = {}
    async_nodes: Mapping[str, AsyncNodeFactory] = {}
    defaults: Mapping[str, str] = {}

    def make(self, name: str, settings: Mapping[str, object] = NOTHING) -> AnyProvider:
        """A provider by its id in a spec: of the kind that its settings `use`, or of the kind of that very name."""
        kind = self.providers.get(str(settings.get("use", name)))
        if kind is None:
            known = ", ".join(sorted(self.providers)) or "none"
            raise MisuseError(
                "provider_unknown",
                f"there is no provider {settings.get('use', name)!r}; known: {known}",
                f"providers.{name}",
            )
        own = {key: value for key, value in settings.items() if key != "use"}
        made = kind.factory(name, own)
        if fault := misfit(made, kind.modality):
            raise MisuseError("provider_unfit", f"the provider {name!r} {fault}", f"providers.{name}")
        return made

    def bindings(self, graph: GraphDefinition) -> dict[str, str]:
        """Every provider name a graph's kernel may ask for -> the id to make; raises for what is not there."""
        found: dict[str, str] = {}
        for node in graph.nodes:
            if node.role is not Role.CALL or node.type in self.async_nodes:
                continue
            modality = node.modality or node.type
            for name in graph.providers.get(modality, (modality,)):
                found[name] = self.defaults.get(name, name)
        return found


def misfit(made: object, modality: str) -> str | None:
    """How something falls short of a provider of this modality; what it then does is for the conformance suite to try."""
    info = getattr(made, "info", None)
    if not isinstance(info, ProviderInfo):
        return "has no `info`, a ProviderInfo"
    if info.modality != modality:
        return f"says that it is for {info.modality!r}, and is registered for {modality!r}"
    for hook in ("open", "close"):
        if not iscoroutinefunction(getattr(made, hook, None)):
            return f"has no coroutine function `{hook}`"
    if not callable(getattr(made, "begin", None)) and not iscoroutinefunction(getattr(made, "run", None)):
        return "has neither a function `begin` nor a coroutine function `run`"
    return None


def settings_of(graph: GraphDefinition, name: str) -> Mapping[str, object]:
    """What the spec says of a provider; nothing for one that is only named."""
    return graph.provider_settings.get(name, NOTHING)
