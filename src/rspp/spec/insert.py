"""A policy's nodes are put into a pipeline before it is wired, so that they are nodes of its graph like all others.

An insertion names a point: the text that leaves every node of a type, or the text that enters it. Everything that flows
there flows through the new node; one that could be passed by would protect nobody. Sound is not to be waylaid, and what
follows the caller's voice is the kernel's own affair: there are no other points than these.

    after llm     llm.text -> X             becomes   llm.text -> policy/<id> -> X
    before llm    X -> llm.text             becomes   X -> policy/<id> -> llm.text
    before tts    X -> tts.text             becomes   X -> policy/<id> -> tts.text
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rspp.contract.words import CancelMode, EventKind
from rspp.spec.assemble import NODES_MAX, Assembly, Placed, Wire
from rspp.spec.catalog import SUBGRAPH_TYPE, Catalog, NodeType
from rspp.spec.graph import OnFailure
from rspp.spec.model import EdgeSpec, NodeBudgetSpec, NodeSpec
from rspp.spec.problem import Findings

POINTS: Final = ("after llm", "before llm", "before tts")
PREFIX: Final = "policy/"
ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,79}")


class Insertion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node, and the point at which it is put. With `required`, a pipeline without such a point is refused."""

    id: str
    at: str
    type: str
    version: str | None = None
    implementation: str | None = None
    config: dict[str, object] = {}
    budget: NodeBudgetSpec | None = None
    cancel: CancelMode | None = None
    on_failure: OnFailure | None = None
    required: bool = False
    source: str = ""  # the policy that asks for it


def insert(
    assembly: Assembly, insertions: tuple[Insertion, ...], catalog: Catalog, findings: Findings
) -> Assembly:
    """The assembly with every insertion, in their order: a later one at the same point lies nearer to the point's node."""
    own = dict(assembly.nodes)  # what a policy put in is no point for another policy's node
    nodes, wires = dict(assembly.nodes), list(assembly.wires)
    for one in insertions:
        kind = _kind_of(one, catalog, findings)
        if kind is None:
            continue
        side, _, wanted = one.at.partition(" ")
        points = [name for name, placed in own.items() if placed.spec.type == wanted]
        if one.required and not points:
            message = f"{_named(one)} is required, and the pipeline has no node of type '{wanted}'"
            findings.error("insertion_point_missing", ("nodes",), message)
        for point in points:
            node_id = f"{PREFIX}{one.id}/{point}"
            if node_id in nodes or len(nodes) >= NODES_MAX:
                message = f"{_named(one)} cannot be put in as '{node_id}': there is such a node, or no room"
                findings.error("insertion_refused", ("nodes",), message)
                continue
            nodes[node_id] = Placed(node_id, _node(one), ("nodes", node_id))
            ports = kind.inputs[0].name, kind.outputs[0].name
            wires = (
                _before(point, node_id, ports, wires)
                if side == "before"
                else _after(point, node_id, ports, wires)
            )
    return Assembly(nodes=nodes, wires=wires, broken=assembly.broken, turn_input=assembly.turn_input)


def faults(one: Insertion, catalog: Catalog) -> list[str]:
    """What is wrong with an insertion by itself, before any pipeline is under it."""
    findings = Findings("<policy>")
    _kind_of(one, catalog, findings)
    return [problem.message for problem in findings.problems]


def _kind_of(one: Insertion, catalog: Catalog, findings: Findings) -> NodeType | None:
    """The type of an insertion that is sound: an allowed point, one text in, one text out, settings that its type has."""
    if one.at not in POINTS:
        message = f"{_named(one)} may not be put '{one.at}'; a policy may put nodes {', '.join(POINTS)}"
        findings.error("insertion_forbidden", ("nodes",), message)
        return None
    if not ID.fullmatch(one.id):
        message = f"a node's id has the form {ID.pattern}, and {one.id[:40]!r} has not"
        findings.error("insertion_forbidden", ("nodes",), message)
        return None
    kind = catalog.find(one.type, one.version, one.implementation) if one.type != SUBGRAPH_TYPE else None
    if kind is None:
        findings.error("unknown_type", ("nodes",), f"{_named(one)}: there is no node type '{one.type}'")
        return None
    takes, gives = kind.inputs, kind.outputs
    if (
        len(takes) != 1
        or len(gives) != 1
        or EventKind.TEXT not in takes[0].kinds
        or EventKind.TEXT not in gives[0].kinds
    ):
        message = f"{_named(one)}: a '{one.type}' does not take one text and give one"
        findings.error("insertion_forbidden", ("nodes",), message)
        return None
    if kind.scope == "session":
        message = f"{_named(one)}: a '{one.type}' belongs to the session, and the points lie in the turn"
        findings.error("insertion_forbidden", ("nodes",), message)
        return None
    if kind.config is not None:
        try:
            msgspec.convert(one.config, kind.config)
        except msgspec.ValidationError as error:
            findings.error("insertion_config", ("nodes",), f"{_named(one)}: {error}")
            return None
    return kind


def _before(point: str, node_id: str, ports: tuple[str, str], wires: list[Wire]) -> list[Wire]:
    """All that fed the point feeds the node, with the bounds and conditions that its edges have; the node feeds the point."""
    taken, given = ports
    rewired: list[Wire] = []
    fed = False
    for wire in wires:
        if wire.target != point:
            rewired.append(wire)
            continue
        rewired.append(msgspec.structs.replace(wire, target=node_id, target_port=taken))
        if not fed:
            rewired.append(_plain(msgspec.structs.replace(wire, source=node_id, source_port=given)))
        fed = True
    return rewired


def _after(point: str, node_id: str, ports: tuple[str, str], wires: list[Wire]) -> list[Wire]:
    """The point feeds the node; the node feeds all that the point fed, with the bounds and conditions that its edges have."""
    taken, given = ports
    rewired: list[Wire] = []
    fed = False
    for wire in wires:
        if wire.source != point:
            rewired.append(wire)
            continue
        if not fed:
            rewired.append(_plain(msgspec.structs.replace(wire, target=node_id, target_port=taken)))
        fed = True
        rewired.append(msgspec.structs.replace(wire, source=node_id, source_port=given))
    return rewired


def _plain(wire: Wire) -> Wire:
    """A wire of our own: the profile decides its bounds."""
    spec = EdgeSpec(from_=wire.spec.from_, to=wire.spec.to)
    return msgspec.structs.replace(wire, spec=spec)


def _node(one: Insertion) -> NodeSpec:
    return NodeSpec(
        type=one.type,
        version=one.version,
        implementation=one.implementation,
        config=dict(one.config),
        scope="turn",
        budget=one.budget,
        cancel=one.cancel,
        on_failure=one.on_failure,
    )


def _named(one: Insertion) -> str:
    return f"the node '{one.id}' of {one.source or 'the policy'}"
