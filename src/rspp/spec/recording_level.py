"""At which level a pipeline is recorded: whether it says so itself, and the layer that says it for one that does not."""

from __future__ import annotations

from typing import Final

from rspp.contract.words import RecordingLevel
from rspp.spec.graph import GraphDefinition
from rspp.spec.normalise import Layer, LayerName
from rspp.spec.profile import SOURCE

SETTING: Final = "policies.recording_policy.level"


def level_layer(name: LayerName, level: RecordingLevel) -> Layer:
    return Layer.of(name, {"policies": {"recording_policy": {"level": level.value}}})


def states_level(graph: GraphDefinition) -> bool:
    """Does the pipeline, or a layer of it, say itself at which level it is recorded?"""
    return graph.defaulting_source.get(SETTING, SOURCE) != SOURCE
