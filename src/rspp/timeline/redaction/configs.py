"""A pipeline's settings name their secrets by reference; one that stands there as it is does not stand in a recording."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from rspp.spec.graph import Condition, GraphDefinition
from rspp.spec.provider_settings import REFERENCE, names_a_secret
from rspp.timeline.redaction.patterns import find
from rspp.timeline.redaction.standins import StandIns

DEPTH_MAX: Final = 24


def literals_of(graph: GraphDefinition) -> frozenset[str]:
    """The words that a pipeline's conditions ask about, and its names: public, and decided by."""
    conditions = [edge.when for edge in graph.edges]
    for node in graph.nodes:
        conditions += [condition for _, condition in (node.select.candidates if node.select else ())]
    found = {node.id for node in graph.nodes} | {edge.id for edge in graph.edges}
    for condition in conditions:
        if isinstance(condition, Condition):
            found.add(condition.attribute)
            values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
            found.update(value for value in values if isinstance(value, str))
    return frozenset(found)


def cleaned(settings: Mapping[str, object], standins: StandIns, kinds: Collection[str]) -> dict[str, object]:
    """The settings, with stand-ins for what is a secret by its name, or of one of these kinds by its form."""
    clean = _Clean(standins, kinds)
    return {name: clean.value(value, names_a_secret(name), 0) for name, value in settings.items()}


class _Clean:
    def __init__(self, standins: StandIns, kinds: Collection[str]) -> None:
        self._standins, self._kinds = standins, kinds

    def value(self, value: Any, named: bool, depth: int) -> object:
        if depth >= DEPTH_MAX:
            return None
        if isinstance(value, str):
            return self._text(value, named)
        if isinstance(value, Mapping):
            return {
                key: self.value(one, named or names_a_secret(str(key)), depth + 1)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return type(value)(self.value(one, named, depth + 1) for one in value)
        return value

    def _text(self, text: str, named: bool) -> str:
        if REFERENCE.fullmatch(text):
            return text
        if named:
            return self._standins.opaque(text)
        for span in find(text, self._kinds):
            text = text[: span.start] + self._standins.opaque(text[span.start : span.end]) + text[span.end :]
        return text
