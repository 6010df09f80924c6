/** A pipeline's graph, drawn: what was inserted by a policy is marked, what an edge carries is written on it. */
import { useMemo, useRef } from "preact/hooks";
import { useWidth } from "./looks";
import { layout } from "./layout";
import "./graph.css";

export interface Node {
  id: string;
  type: string;
  provider: string | null;
  inserted: boolean;
}
export interface Edge {
  from: string;
  to: string;
  port: string;
  lane: string;
  condition: string | null;
}

const NARROW_PX = 640;
const PER_CHARACTER_PX = 6.7;
const LABEL_CHARACTER_PX = 6;
const SMALLEST = 0.72; // of its size: below, words cannot be read, and it is scrolled

const wordsOf = (node: Node): string =>
  node.provider !== null && node.provider !== "" ? node.provider : node.type === node.id ? "" : node.type;
/** "data" of "DataLane": specs and contract write it differently. */
const laneOf = ({ lane }: Edge): string => lane.replace(/Lane$/, "").toLowerCase();
const labelOf = (edge: Edge): string =>
  [
    edge.port,
    laneOf(edge) === "data" ? "" : laneOf(edge),
    edge.condition === null ? "" : `if ${edge.condition}`,
  ]
    .filter(Boolean)
    .join(" · ");

export function Graph({
  nodes,
  edges,
  label,
}: {
  nodes: readonly Node[];
  edges: readonly Edge[];
  label: string;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame) || 1000;
  const down = width < NARROW_PX;
  const drawn = useMemo(() => {
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const wide = (id: string): number =>
      Math.max(id.length, (byId.get(id) ? wordsOf(byId.get(id) as Node) : "").length) * PER_CHARACTER_PX + 24;
    const said = Math.max(0, ...edges.map((edge) => labelOf(edge).length)) * LABEL_CHARACTER_PX;
    return layout([...byId.keys()], edges, {
      down,
      layerGap: down ? 44 : Math.min(170, Math.max(44, said + 20)),
      gap: 26,
      margin: 14,
      node: (id) => ({ width: Math.round(wide(id)), height: 46 }),
    });
  }, [nodes, edges, down]);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const scale = Math.max(SMALLEST, Math.min(1, width / Math.max(1, drawn.width)));
  return (
    <div class="graph" ref={frame}>
      <div class="graph-scroll" tabIndex={0} role="region" aria-label={label}>
        <svg
          width={drawn.width * scale}
          height={drawn.height * scale}
          viewBox={`0 0 ${drawn.width} ${drawn.height}`}
          role="img"
          aria-label={`${label}: ${nodes.length} nodes, ${edges.length} edges. The same as lists follows below.`}
        >
          <defs>
            <marker
              id="graph-arrow"
              viewBox="0 0 8 8"
              refX="7"
              refY="4"
              markerWidth="7"
              markerHeight="7"
              orient="auto-start-reverse"
            >
              <path d="M0 .8 7 4 0 7.2z" class="graph-arrow" />
            </marker>
          </defs>
          {drawn.edges.map(({ edge, path, at }) => {
            const given = edges[edge] as Edge;
            return (
              <g
                key={edge}
                class={`graph-edge lane-${laneOf(given)}${given.condition === null ? "" : " conditional"}`}
              >
                <title>{`${given.from} to ${given.to}: ${labelOf(given)}`}</title>
                <path d={path} marker-end="url(#graph-arrow)" />
                <text x={at.x} y={at.y - 4} text-anchor="middle">
                  {labelOf(given)}
                </text>
              </g>
            );
          })}
          {drawn.nodes.map(({ id, x, y, width, height }) => {
            const node = byId.get(id) as Node;
            const words = wordsOf(node);
            return (
              <g
                key={id}
                class={`graph-node${node.inserted ? " inserted" : ""}${node.provider ? " provided" : ""}`}
                transform={`translate(${x} ${y})`}
              >
                <title>{`${id}: ${node.type}${node.provider ? `, ${node.provider}` : ""}${node.inserted ? ", inserted by a policy" : ""}`}</title>
                <rect width={width} height={height} rx={8} />
                <text x={width / 2} y={words ? 20 : 28} class="graph-name" text-anchor="middle">
                  {id}
                </text>
                {words && (
                  <text x={width / 2} y={36} class="graph-words" text-anchor="middle">
                    {words}
                  </text>
                )}
              </g>
            );
          })}
        </svg>
      </div>
      <p class="graph-legend muted">
        <span class="graph-key provided" /> asks a provider
        <span class="graph-key inserted" /> inserted by a policy
      </p>
      <details>
        <summary>The graph as lists</summary>
        <ul class="graph-list">
          {nodes.map((node) => (
            <li key={node.id}>
              <code>{node.id}</code> {node.type}
              {node.provider ? `, provided by ${node.provider}` : ""}
              {node.inserted ? ", inserted by a policy" : ""}
            </li>
          ))}
        </ul>
        <ul class="graph-list">
          {edges.map((edge, index) => (
            <li key={index}>
              <code>{edge.from}</code> to <code>{edge.to}</code>: {labelOf(edge) || laneOf(edge)}
            </li>
          ))}
        </ul>
      </details>
    </div>
  );
}
