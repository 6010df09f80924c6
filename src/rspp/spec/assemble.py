"""Templates, subgraphs and fan-out are written short; assembling writes them out as single nodes and single wires.

An inner node is called `outer/inner`. Nothing outside a subgraph can name its inside: it is reached by the ports that
the module shows, so a module may change within its version's promise. A version changes only where its pin does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.spec.catalog import SUBGRAPH_TYPE, Catalog
from rspp.spec.model import EdgeSpec, NodeSpec, PipelineSpec, SubgraphSpec
from rspp.spec.problem import Findings, Path, did_you_mean
from rspp.spec.template import TEMPLATES

NODES_MAX: Final = 256  # modules can multiply; a pipeline that needs more is a mistake
WIRES_MAX: Final = 1024
MODULE_DEPTH_MAX: Final = 8
# Fields of a node that a subgraph node cannot have.
SUBGRAPH_FREE: Final = (
    "config",
    "fallback",
    "merge",
    "select",
    "implementation",
    "inputs",
    "outputs",
    "role",
    "isolate",
    "limits",
)


class Placed(msgspec.Struct, frozen=True):
    """A node under its full id, and the path at which it was written."""

    id: str
    spec: NodeSpec
    path: Path


class Wire(msgspec.Struct, frozen=True):
    """One channel; a port is None where the writer left the choice to us."""

    source: str
    source_port: str | None
    target: str
    target_port: str | None
    spec: EdgeSpec
    path: Path
    source_path: Path
    target_path: Path


class Assembly(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes and wires. `broken` ids exist but could not be read: nothing more is said about them."""

    nodes: dict[str, Placed]
    wires: list[Wire]
    broken: set[str]
    turn_input: str | None


def assemble(
    spec: PipelineSpec, written: Mapping[str, object], catalog: Catalog, findings: Findings
) -> Assembly:
    """`written` holds the node ids of the text, among them those whose node could not be read."""
    nodes, edges, turn_input = spec.nodes, spec.edges, spec.turn_input
    if spec.template is not None:
        template = TEMPLATES.get(spec.template)
        if template is None:
            message = f"there is no template '{spec.template}'"
            findings.error("unknown_template", ("template",), message, did_you_mean(spec.template, TEMPLATES))
        elif nodes or edges or written:
            message = "a pipeline has either a template or its own nodes and edges"
            hint = "Remove `template`, or start from `rspp graph --format text`"
            findings.error("template_and_nodes", ("template",), message, hint)
        else:
            nodes, edges, turn_input = dict(template.nodes), template.edges, turn_input or template.turn_input
    builder = _Builder(spec.subgraphs, catalog, findings)
    builder.broken.update(name for name in written if name not in nodes)
    builder.place(nodes, edges, "", (), ())
    return Assembly(nodes=builder.nodes, wires=builder.wires, broken=builder.broken, turn_input=turn_input)


class _Builder:
    """Writes out nested modules; `shown` maps a subgraph's ports to what they stand for."""

    def __init__(self, local: Mapping[str, SubgraphSpec], catalog: Catalog, findings: Findings) -> None:
        self._local = local
        self._catalog = catalog
        self._findings = findings
        self.nodes: dict[str, Placed] = {}
        self.wires: list[Wire] = []
        self.broken: set[str] = set()
        self._inputs: dict[str, dict[str, str]] = {}
        self._outputs: dict[str, dict[str, str]] = {}
        self._full = False

    def place(
        self,
        nodes: Mapping[str, NodeSpec],
        edges: tuple[EdgeSpec, ...],
        prefix: str,
        path: Path,
        inside: tuple[str, ...],
    ) -> None:
        for name, node in nodes.items():
            at = (*path, "nodes", name)
            if node.type == SUBGRAPH_TYPE:
                self._module(prefix + name, node, at, inside)
            elif len(self.nodes) < NODES_MAX:
                self.nodes[prefix + name] = Placed(prefix + name, node, at)
            else:
                self._too_large(
                    at, f"the pipeline has more than {NODES_MAX} nodes once its modules are written out"
                )
        for index, edge in enumerate(edges):
            self._edge(edge, prefix, (*path, "edges", index))

    def _module(self, outer: str, node: NodeSpec, at: Path, inside: tuple[str, ...]) -> None:
        """A subgraph node becomes the nodes of its module, or is broken."""
        self.broken.add(outer)
        module, path = self._find(node, at)
        if module is None:
            return
        if node.use in inside or len(inside) >= MODULE_DEPTH_MAX:
            chain = " -> ".join((*inside, str(node.use)))
            self._findings.error("module_recursive", (*at, "use"), f"the module contains itself: {chain}")
            return
        assert node.use is not None
        for field in SUBGRAPH_FREE:
            if getattr(node, field):
                message = f"a subgraph node has no '{field}'; it comes from the module"
                self._findings.error("subgraph_field", (*at, field), message, at_key=True)
        self.broken.discard(outer)
        self._inputs[outer] = dict(module.inputs)
        self._outputs[outer] = dict(module.outputs)
        self.place(module.nodes, module.edges, f"{outer}/", path or at, (*inside, node.use))

    def _find(self, node: NodeSpec, at: Path) -> tuple[SubgraphSpec | None, Path]:
        if node.use is None:
            message = "a subgraph node names its module"
            self._findings.error("missing_field", at, message, "Add `use: name@version`")
            return None, ()
        name, _, version = node.use.partition("@")
        local = self._local.get(name)
        if local is not None and local.version == version:
            return local, ("subgraphs", name)
        published = self._catalog.modules.get(node.use)
        if isinstance(published, SubgraphSpec):
            return published, ()
        known = [f"{key}@{module.version}" for key, module in self._local.items()] + list(
            self._catalog.modules
        )
        message = f"there is no module '{node.use}'"
        self._findings.error("module_missing", (*at, "use"), message, did_you_mean(node.use, known))
        return None, ()

    def _edge(self, edge: EdgeSpec, prefix: str, path: Path) -> None:
        targets = (edge.to,) if isinstance(edge.to, str) else edge.to
        for index, target in enumerate(targets):
            at = (*path, "to") if isinstance(edge.to, str) else (*path, "to", index)
            origin = (*path, "from")
            source = self._resolve(prefix, edge.from_, self._outputs, "output", origin)
            sink = self._resolve(prefix, target, self._inputs, "input", at)
            if source is None or sink is None:
                continue
            if len(self.wires) >= WIRES_MAX:
                self._too_large(
                    path, f"the pipeline has more than {WIRES_MAX} edges once its modules are written out"
                )
                return
            self.wires.append(Wire(*source, *sink, edge, path, origin, at))

    def _resolve(
        self, prefix: str, endpoint: str, shown: dict[str, dict[str, str]], side: str, at: Path
    ) -> tuple[str, str | None] | None:
        """Full node id and port of an endpoint; a module's shown port leads inside, module by module."""
        name, _, port = endpoint.partition(".")
        node = prefix + name
        if node not in shown:
            return node, port or None
        ports = shown[node]
        if not port and len(ports) == 1:
            port = next(iter(ports))
        if port not in ports:
            message = f"the subgraph '{node}' shows no {side} '{port}'"
            self._findings.error("unknown_port", at, message, did_you_mean(port, ports))
            return None
        return self._resolve(f"{node}/", ports[port], shown, side, at)

    def _too_large(self, at: Path, message: str) -> None:
        if not self._full:
            self._findings.error("too_large", at, message)
        self._full = True
