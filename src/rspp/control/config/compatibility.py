"""A pipeline's next version may not break those who use this one, unless its number says so.

Versions are `MAJOR` or `MAJOR.MINOR...`, with or without a `v`: `v2`, `1.4`, `v1.4.2`. Two of one major version are meant
to stand in for each other, so the newer takes all that the older took of callers, gives all that it gave, needs no
provider that the older did not, and stays with its profile. Versions of another form are each a major version of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from rspp.spec.graph import GraphDefinition, Role

NUMBERED: Final = re.compile(r"v?(\d{1,9})((?:\.\d{1,9})*)")
Number = tuple[int, ...]


def number_of(version: str) -> Number | None:
    found = NUMBERED.fullmatch(version)
    return tuple(int(part) for part in found[0].removeprefix("v").split(".")) if found else None


def neighbour(version: str, published: Iterable[str]) -> str | None:
    """The version to compare with: the highest below this one with the same major number."""
    own = number_of(version)
    if own is None:
        return None
    below = [
        (number, one)
        for one in published
        if (number := number_of(one)) is not None and number[0] == own[0] and number < own
    ]
    return max(below)[1] if below else None


def next_neighbour(version: str, published: Iterable[str]) -> str | None:
    """The lowest above it with the same major number: a version that is slipped in below must fit that one as well."""
    own = number_of(version)
    if own is None:
        return None
    above = [
        (number, one)
        for one in published
        if (number := number_of(one)) is not None and number[0] == own[0] and number > own
    ]
    return min(above)[1] if above else None


def breaks(old: GraphDefinition, new: GraphDefinition) -> list[str]:
    """Everything in which the new graph breaks who uses the old one."""
    return list(_breaks(old, new))


def _breaks(old: GraphDefinition, new: GraphDefinition) -> Iterator[str]:
    if old.profile != new.profile:
        yield f"the profile was {old.profile} and is {new.profile}: its defaults decide differently"
    for gone in sorted(_taken(old) - _taken(new)):
        yield f"callers' {gone} is not taken any more"
    for gone in sorted(_given(old) - _given(new)):
        yield f"callers are not given {gone} any more"
    for due in sorted(_modalities(new) - _modalities(old)):
        yield f"a provider for {due} is now needed"
    olds = {node.type.partition("@")[0]: node.version for node in old.nodes if "@" in node.type}
    for node in new.nodes:
        was = olds.get(node.type.partition("@")[0])
        if was is not None and _major(was) != _major(node.version):
            yield f"the node {node.id} is of version {node.version}, and was of {was}"


def _taken(graph: GraphDefinition) -> set[str]:
    sources = {node.id for node in graph.nodes if node.role is Role.SOURCE}
    return {kind.value for edge in graph.edges if edge.source in sources for kind in edge.kinds}


def _given(graph: GraphDefinition) -> set[str]:
    sinks = {node.id for node in graph.nodes if node.role is Role.SINK}
    return {kind.value for edge in graph.edges if edge.target in sinks for kind in edge.kinds}


def _modalities(graph: GraphDefinition) -> set[str]:
    return {node.modality for node in graph.nodes if node.role is Role.CALL and node.modality is not None}


def _major(version: str) -> object:
    number = number_of(version.partition("+")[0])
    return number[0] if number is not None else version
