/** What was really in force: the graph with what was inserted and who was chosen, each turn's plan, and whence each value came. */
import type { Json, JsonMap } from "../../api";
import { Panel } from "../../parts";
import { type Edge, Graph, type Node } from "../../draw/Graph";
import { Value } from "./value";

const map = (value: Json | undefined): JsonMap | null =>
  value && typeof value === "object" && !Array.isArray(value) ? value : null;
const maps = (value: Json | undefined): JsonMap[] =>
  Array.isArray(value) ? value.map(map).filter((one) => one !== null) : [];
const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");

export function Plan({ resolved }: { resolved: JsonMap }) {
  const { nodes: _, edges: __, turns: ___, ...rest } = resolved;
  const nodes = nodesOf(resolved),
    edges = edgesOf(resolved),
    turns = maps(resolved["turns"]);
  return (
    <Panel title="The resolved plan">
      <div class="plan">
        {nodes.length > 0 && <Graph nodes={nodes} edges={edges} label="The graph in force" />}
        <details class="folded">
          <summary>Providers, version and fingerprint</summary>
          <Value of={rest} />
        </details>
        {turns.map((turn, index) => (
          <TurnPlan key={index} turn={turn} />
        ))}
      </div>
    </Panel>
  );
}

function TurnPlan({ turn }: { turn: JsonMap }) {
  const { sources, ...rest } = turn;
  const known = Object.entries(map(sources) ?? {});
  return (
    <details class="folded">
      <summary>
        Turn {String(turn["number"] ?? turn["turn"] ?? "")}: its plan, and where each value came from
      </summary>
      <div class="stack">
        <Value of={rest} />
        {known.length > 0 && (
          <table class="sources">
            <caption class="visually-hidden">Where each value came from</caption>
            <thead>
              <tr>
                <th scope="col">Value</th>
                <th scope="col">Came from</th>
              </tr>
            </thead>
            <tbody>
              {known.map(([path, source]) => (
                <tr key={path}>
                  <td>
                    <code>{path}</code>
                  </td>
                  <td>{String(source)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </div>
    </details>
  );
}

function nodesOf(resolved: JsonMap): Node[] {
  return maps(resolved["nodes"]).flatMap((node) => {
    const id = text(node["id"]);
    return id
      ? [
          {
            id,
            type: text(node["type"]),
            provider: text(node["provider"]) || null,
            inserted: node["inserted"] === true,
          },
        ]
      : [];
  });
}

function edgesOf(resolved: JsonMap): Edge[] {
  return maps(resolved["edges"]).map((edge) => ({
    from: text(edge["from"]),
    to: text(edge["to"]),
    port: text(edge["port"]),
    lane: text(edge["lane"]) || "data",
    condition: text(edge["condition"]) || null,
  }));
}
