"""Every wire joins two ports that exist and agree on what flows; nodes get their ports, scope and order from it.

What a merge, a select or a tee carries is known only from what is wired to it, so ports are resolved in topological
order. A node that could not be resolved is broken: wires to it are left out without another word, so that one fault
is one problem.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, inspect

from rspp.contract.words import EventKind
from rspp.spec.assemble import Assembly, Placed, Wire
from rspp.spec.catalog import ANY, CUSTOM_TYPE, Catalog, NodeType
from rspp.spec.check import read
from rspp.spec.graph import Lifetime, Port, Role
from rspp.spec.problem import Findings, Path, did_you_mean
from rspp.spec.source import Mapping, Source


class Resolved(msgspec.Struct, kw_only=True):
    """A node with its type, its ports and its scope; open inputs are filled while wiring."""

    placed: Placed
    kind: NodeType
    role: Role
    scope: str | None
    inputs: dict[str, tuple[EventKind, ...]]
    outputs: dict[str, tuple[EventKind, ...]]
    lifetime: Lifetime | None
    config: dict[str, object]

    @property
    def id(self) -> str:
        return self.placed.id

    def ports(self, side: dict[str, tuple[EventKind, ...]]) -> tuple[Port, ...]:
        return tuple(Port(name=name, kinds=kinds) for name, kinds in side.items())


class Joint(msgspec.Struct, frozen=True, kw_only=True):
    """A wire whose ports are known."""

    wire: Wire
    source_port: str
    target_port: str

    @property
    def source(self) -> str:
        return self.wire.source

    @property
    def target(self) -> str:
        return self.wire.target


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A wire whose ends are known; `kinds` is what can flow."""

    wire: Wire
    source: str
    source_port: str
    target: str
    target_port: str
    kinds: tuple[EventKind, ...]

    @property
    def id(self) -> str:
        return f"{self.source}.{self.source_port}->{self.target}.{self.target_port}"


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes in topological order, ties by id, and links by the order of their source, then as written."""

    nodes: dict[str, Resolved]
    links: tuple[Link, ...]
    broken: frozenset[str]


def wire(assembly: Assembly, catalog: Catalog, written: Source, findings: Findings) -> Wiring:
    broken = set(assembly.broken)
    nodes: dict[str, Resolved] = {}
    for placed in assembly.nodes.values():
        resolved = _resolve(placed, catalog, written, findings)
        if resolved is None:
            broken.add(placed.id)
        else:
            nodes[placed.id] = resolved
    joined = [
        _join(one, nodes, findings) for one in assembly.wires if _ends_are_known(one, nodes, broken, findings)
    ]
    sound = [one for one in joined if one is not None]
    order = _ordered(nodes, sound, findings)
    if order is None:
        return Wiring(nodes=nodes, links=(), broken=frozenset(broken))
    links = _links(order, nodes, sound, findings)
    return Wiring(
        nodes={name: nodes[name] for name in order},
        links=links,
        broken=frozenset(broken),
    )


def _resolve(placed: Placed, catalog: Catalog, written: Source, findings: Findings) -> Resolved | None:
    spec, at = placed.spec, placed.path
    kind = catalog.find(spec.type, spec.version, spec.implementation)
    if kind is None:
        message = f"there is no node type '{spec.type}'"
        findings.error("unknown_type", (*at, "type"), message, did_you_mean(spec.type, catalog.names()))
        return None
    inputs = {port.name: port.kinds for port in kind.inputs}
    outputs = {port.name: port.kinds for port in kind.outputs}
    role, lifetime = kind.role, kind.lifetime
    if kind.name == CUSTOM_TYPE:
        if spec.implementation is None:
            message = "a custom node names its implementation"
            findings.error("missing_field", at, message, "Add `implementation: module:Class`")
            return None
        inputs, outputs = dict(spec.inputs or {}), dict(spec.outputs or {})
        if spec.role == "call":
            role, lifetime = Role.CALL, Lifetime.TURN
        if not inputs and not outputs:
            findings.error(
                "missing_field", at, "a custom node declares its ports", "Add `inputs` and `outputs`"
            )
            return None
    elif spec.type == CUSTOM_TYPE:
        _agrees(placed, kind, findings)
    return Resolved(
        placed=placed,
        kind=kind,
        role=role,
        scope=spec.scope or kind.scope,
        inputs=inputs,
        outputs=outputs,
        lifetime=lifetime,
        config=_config(placed, kind, written, findings),
    )


def _agrees(placed: Placed, kind: NodeType, findings: Findings) -> None:
    """A spec may repeat what the node's class declares; it cannot say something else."""
    spec = placed.spec
    declared = {
        "role": "call" if kind.role is Role.CALL else "sync",
        "inputs": {port.name: port.kinds for port in kind.inputs},
        "outputs": {port.name: port.kinds for port in kind.outputs},
    }
    for field, value in declared.items():
        written = getattr(spec, field)
        if written is not None and written != value:
            message = f"the class '{spec.implementation}' declares other {field}"
            hint = "Remove it here; the declaration is enough"
            findings.error("declaration_disagrees", (*placed.path, field), message, hint, at_key=True)


def _config(placed: Placed, kind: NodeType, written: Source, findings: Findings) -> dict[str, object]:
    """The configuration as the node's type reads it, defaults filled in."""
    if kind.config is None:
        extra = {} if placed.spec.implementation is None else {"implementation": placed.spec.implementation}
        return {**placed.spec.config, **extra}
    path = (*placed.path, "config")
    node = _at(written, path)
    if node is None:
        # A template's or a published module's node was not written in this text.
        return _plain(msgspec.convert(placed.spec.config, kind.config))
    value = read(node, inspect.type_info(kind.config), path, findings)
    return {} if value is UNSET else _plain(value)


def _plain(config: msgspec.Struct) -> dict[str, object]:
    """As JSON has it, so that a graph that was recorded and read back is equal to the one that ran."""
    return msgspec.json.decode(msgspec.json.encode(config), type=dict[str, object])


def _at(written: Source, path: Path) -> Mapping | None:
    """The mapping at a path of the text; an empty one when its parent was written without it."""
    node: object = written.root
    for step in path[:-1]:
        if not isinstance(node, Mapping) or step not in node.entries:
            return None
        node = node.entries[str(step)]
    if not isinstance(node, Mapping):
        return None
    found = node.entries.get(str(path[-1]))
    if found is None:
        return Mapping({}, {}, node.at)
    return found if isinstance(found, Mapping) else None


def _ends_are_known(wire: Wire, nodes: dict[str, Resolved], broken: set[str], findings: Findings) -> bool:
    known = True
    for name, path in ((wire.source, wire.source_path), (wire.target, wire.target_path)):
        if name not in nodes:
            known = False
            if name not in broken:
                message = f"there is no node '{name}'"
                findings.error("unknown_node", path, message, did_you_mean(name, [*nodes, *broken]))
    if known and wire.source == wire.target:
        findings.error("self_edge", wire.path, f"the node '{wire.source}' feeds itself")
        return False
    return known


def _ordered(nodes: dict[str, Resolved], wires: Iterable[Joint], findings: Findings) -> list[str] | None:
    """Ids so that everything stands after what feeds it, or None after reporting a cycle."""
    after: dict[str, set[str]] = {name: set() for name in nodes}
    for source, target in _dependencies(nodes, wires):
        after[source].add(target)
    waiting = dict.fromkeys(nodes, 0)
    for targets in after.values():
        for target in sorted(targets):
            waiting[target] += 1
    ready = sorted(name for name, count in waiting.items() if count == 0)
    order: list[str] = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for target in sorted(after[name]):
            waiting[target] -= 1
            if waiting[target] == 0:
                heapq.heappush(ready, target)
    if len(order) == len(nodes):
        return order
    cycle = _cycle(after, sorted(set(nodes) - set(order)))
    path = nodes[cycle[0]].placed.path
    hint = "Break the loop: a pipeline flows one way, from the caller to the caller"
    findings.error("cycle", path, f"the nodes feed each other: {' -> '.join(cycle)}", hint)
    return None


def _dependencies(nodes: dict[str, Resolved], wires: Iterable[Joint]) -> Iterator[tuple[str, str]]:
    """A fallback depends on the node it stands in for, as if it were fed by it."""
    for one in wires:
        yield one.source, one.target
    for name, node in nodes.items():
        fallback = fallback_of(node)
        if fallback is not None and fallback in nodes and fallback != name:
            yield name, fallback


def fallback_of(node: Resolved) -> str | None:
    """The full id of a node's fallback: it lives in the same module."""
    if node.placed.spec.fallback is None:
        return None
    outer, slash, _ = node.id.rpartition("/")
    return f"{outer}{slash}{node.placed.spec.fallback}"


def _cycle(after: dict[str, set[str]], stuck: list[str]) -> list[str]:
    """One loop among nodes of which each has a successor that is stuck too, or leads to one."""
    candidates = set(stuck)
    # What is only downstream of a loop is stuck as well; peel it off until every one left has a stuck successor.
    while ends := {name for name in candidates if not after[name] & candidates}:
        candidates -= ends
    trail = [min(candidates)]
    while True:
        following = min(after[trail[-1]] & candidates)
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


def _links(
    order: list[str], nodes: dict[str, Resolved], joints: list[Joint], findings: Findings
) -> tuple[Link, ...]:
    outgoing: dict[str, list[Joint]] = {name: [] for name in order}
    for one in joints:
        outgoing[one.source].append(one)
    links: list[Link] = []
    seen: set[str] = set()
    for name in order:
        _settle(nodes[name], nodes, links)
        for one in outgoing[name]:
            link = _link(one, nodes, findings)
            if link is None:
                continue
            if link.id in seen:
                message = f"'{link.source}.{link.source_port}' feeds '{link.target}.{link.target_port}' twice"
                findings.error("duplicate_edge", one.wire.target_path, message)
                continue
            seen.add(link.id)
            links.append(link)
    return tuple(links)


def _settle(node: Resolved, nodes: dict[str, Resolved], links: list[Link]) -> None:
    """Kinds of open ports and an undeclared scope follow from what feeds the node, all of which stands before it."""
    feeding = [link for link in links if link.target == node.id]
    if node.kind.open_inputs:
        for port in node.inputs:
            node.inputs[port] = _union(link.kinds for link in feeding if link.target_port == port)
        carried = _union(node.inputs.values())
        node.outputs = dict.fromkeys(node.outputs, carried)
    if node.scope is None:
        upstream = {nodes[link.source].scope for link in feeding}
        upstream |= {other.scope for other in nodes.values() if fallback_of(other) == node.id}
        node.scope = "turn" if "turn" in upstream else "session"


def _union(groups: Iterable[tuple[EventKind, ...]]) -> tuple[EventKind, ...]:
    found = {kind for group in groups for kind in group}
    return tuple(kind for kind in ANY if kind in found)


def _join(wire: Wire, nodes: dict[str, Resolved], findings: Findings) -> Joint | None:
    """The two ports of a wire. Open inputs come to be because something is wired to them, in the order written."""
    source, target = nodes[wire.source], nodes[wire.target]
    wanted = wire.target_port
    if target.kind.open_inputs:
        wanted = wanted or "in"
        target.inputs.setdefault(wanted, ())
    given = _port(source.outputs, wire.source_port, "output", source, wire.source_path, findings)
    taken = _port(target.inputs, wanted, "input", target, wire.target_path, findings)
    return None if given is None or taken is None else Joint(wire=wire, source_port=given, target_port=taken)


def _link(joint: Joint, nodes: dict[str, Resolved], findings: Findings) -> Link | None:
    """The joint with what flows through it, if its target takes all of that."""
    source, target = nodes[joint.source], nodes[joint.target]
    kinds = source.outputs[joint.source_port]
    link = Link(
        wire=joint.wire,
        source=source.id,
        source_port=joint.source_port,
        target=target.id,
        target_port=joint.target_port,
        kinds=kinds,
    )
    taken = target.inputs[joint.target_port]
    refused = [] if target.kind.open_inputs else [kind for kind in kinds if kind not in taken]
    if not refused:
        return link
    gives, port = _list(kinds), f"{target.id}.{joint.target_port}"
    message = f"the edge {link.id} joins {gives} to {_list(taken)}: '{port}' does not take {_list(refused)}"
    findings.error("kind_mismatch", joint.wire.target_path, message, f"Wire {gives} to a port that takes it")
    return None


def _port(
    ports: dict[str, tuple[EventKind, ...]],
    name: str | None,
    side: str,
    node: Resolved,
    path: Path,
    findings: Findings,
) -> str | None:
    """The named port, or the only one there is."""
    if name is None and len(ports) == 1:
        return next(iter(ports))
    if name is not None and name in ports:
        return name
    if name is None and ports:
        message = f"'{node.id}' has more than one {side}; say which"
        findings.error("port_ambiguous", path, message, f"Ports: {', '.join(ports)}")
        return None
    called = "" if name is None else f" '{name}'"
    message = f"'{node.id}' ({node.placed.spec.type}) has no {side}{called}"
    findings.error("unknown_port", path, message, did_you_mean(name or "", ports))
    return None


def _list(kinds: Iterable[EventKind]) -> str:
    return " and ".join(kinds) or "nothing"
