/** A drawn graph: nothing overlaps, data flows one way, circles and unknown names are survived, and it is always the same. */
import { describe, expect, it } from "vitest";
import { crossings, layered } from "../../src/draw/layers";
import { layout, type Placed, type Wishes } from "../../src/draw/layout";

const wishes: Wishes = {
  down: false,
  node: () => ({ width: 120, height: 44 }),
  layerGap: 60,
  gap: 16,
  margin: 12,
};
const edges = (...pairs: string[]) =>
  pairs.map((pair) => ({ from: pair.split(">")[0] ?? "", to: pair.split(">")[1] ?? "" }));

const VOICE = ["caller", "vad", "end_of_turn", "stt", "llm", "filter", "segmenter", "tts", "speaker"];
const VOICE_EDGES = edges(
  "caller>vad",
  "caller>end_of_turn",
  "caller>stt",
  "stt>speaker",
  "stt>llm",
  "llm>filter",
  "filter>segmenter",
  "segmenter>tts",
  "segmenter>speaker",
  "tts>speaker",
);

const overlap = (one: Placed, other: Placed): boolean =>
  one.x < other.x + other.width &&
  other.x < one.x + one.width &&
  one.y < other.y + other.height &&
  other.y < one.y + one.height;

/** Any graph of `count` nodes, the same for the same seed. */
function anyGraph(count: number, seed: number): { nodes: string[]; edges: { from: string; to: string }[] } {
  let state = seed;
  const next = (below: number): number => (state = (state * 1103515245 + 12345) % 2147483648) % below;
  const nodes = Array.from({ length: count }, (_, n) => `n${n}`);
  return {
    nodes,
    edges: Array.from({ length: count * 2 }, () => ({ from: `n${next(count)}`, to: `n${next(count)}` })),
  };
}

describe("a layout", () => {
  it.each([false, true])("of a voice pipeline goes one way and overlaps nowhere (down: %s)", (down) => {
    const drawn = layout(VOICE, VOICE_EDGES, { ...wishes, down });
    const at = new Map(drawn.nodes.map((node) => [node.id, node]));
    for (const { from, to } of VOICE_EDGES) {
      const [a, b] = [at.get(from)!, at.get(to)!];
      expect(down ? b.y - (a.y + a.height) : b.x - (a.x + a.width)).toBeGreaterThanOrEqual(
        wishes.layerGap - 1,
      );
    }
    for (const [index, one] of drawn.nodes.entries())
      for (const other of drawn.nodes.slice(index + 1)) expect(overlap(one, other)).toBe(false);
    expect(drawn.edges).toHaveLength(VOICE_EDGES.length);
  });

  it("draws a chain as a straight line", () => {
    const { nodes } = layout(["a", "b", "c"], edges("a>b", "b>c"), wishes);
    expect(new Set(nodes.map((node) => node.y)).size).toBe(1);
  });

  it("uncrosses what can be uncrossed", () => {
    const graph = edges("a>d", "b>c", "a>f", "b>e");
    const { layers } = layered(["a", "b", "c", "d", "e", "f"], graph);
    expect(
      crossings(
        layers,
        graph.map(({ from, to }) => [from, to] as const),
      ),
    ).toBe(0);
  });

  it("survives circles, edges to itself and names that nobody has", () => {
    const drawn = layout(["a", "b", "c"], edges("a>b", "b>c", "c>a", "b>b", "b>ghost"), wishes);
    expect(drawn.nodes).toHaveLength(3);
    expect(drawn.edges.map(({ edge }) => edge)).toEqual([0, 1, 2]);
    expect(layout([], [], wishes)).toEqual({ width: 0, height: 0, nodes: [], edges: [] });
  });

  it("leads an edge over several layers round the nodes between", () => {
    const { routes, layers } = layered(["a", "b", "c"], edges("a>b", "b>c", "a>c"));
    expect(routes[2]?.keys).toHaveLength(3);
    expect(layers[1]).toHaveLength(2);
  });

  it.each([1, 2, 3, 4, 5, 6])(
    "of any graph lies within its size, overlaps nowhere and is the same again (seed %i)",
    (seed) => {
      const graph = anyGraph(14, seed);
      const drawn = layout(graph.nodes, graph.edges, wishes);
      for (const [index, one] of drawn.nodes.entries()) {
        expect(one.x).toBeGreaterThanOrEqual(0);
        expect(one.y).toBeGreaterThanOrEqual(0);
        expect(one.x + one.width).toBeLessThanOrEqual(drawn.width);
        expect(one.y + one.height).toBeLessThanOrEqual(drawn.height);
        for (const other of drawn.nodes.slice(index + 1))
          expect(overlap(one, other), `${one.id} ${other.id}`).toBe(false);
      }
      expect(layout(graph.nodes, graph.edges, wishes)).toEqual(drawn);
    },
  );
});
