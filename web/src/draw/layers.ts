/**
 * A graph in layers, from where its data comes in to where it goes out: which layer each node is in, and in which order.
 *
 * Edges that lead back are turned round for the drawing only. An edge over several layers gets a place in each, so that it
 * never runs through a node. Orders are made better by medians, sweep by sweep, and the one with the fewest crossings is kept.
 * The same graph gives the same drawing: nothing depends on chance or on the order of a map.
 */

export interface GraphEdge {
  from: string;
  to: string;
}

/** A place in a layer: a node's, or that of an edge which passes through. */
export interface Slot {
  key: string;
  node: string | null;
}
/** An edge by its number, as the keys of the slots that it goes through, from its source to its target. */
export interface Route {
  edge: number;
  keys: string[];
}
export interface Layered {
  layers: Slot[][];
  routes: Route[];
}

const SWEEPS = 12;

export function layered(nodes: readonly string[], edges: readonly GraphEdge[]): Layered {
  const known = new Set(nodes);
  const used = edges.flatMap((edge, index) =>
    known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to ? [{ ...edge, index }] : [],
  );
  const forward = acyclic(nodes, used);
  const rank = ranks(nodes, forward);
  const layers: Slot[][] = Array.from({ length: Math.max(0, ...rank.values()) + 1 }, () => []);
  for (const node of nodes) layers[rank.get(node) ?? 0]?.push({ key: node, node });
  const routes = forward.map((edge) => routed(edge, rank, layers));
  return {
    layers: ordered(layers, routes),
    routes: routes.map(({ edge, keys, turned }) => ({ edge, keys: turned ? keys.reverse() : keys })),
  };
}

interface Directed extends GraphEdge {
  index: number;
  turned: boolean;
}

/** The edges with those turned round that would close a circle. */
function acyclic(nodes: readonly string[], edges: readonly (GraphEdge & { index: number })[]): Directed[] {
  const out = new Map(nodes.map((node) => [node, edges.filter((edge) => edge.from === node)]));
  const state = new Map<string, "open" | "done">();
  const back = new Set<number>();
  const visit = (node: string): void => {
    state.set(node, "open");
    for (const edge of out.get(node) ?? []) {
      if (state.get(edge.to) === "open") back.add(edge.index);
      else if (!state.has(edge.to)) visit(edge.to);
    }
    state.set(node, "done");
  };
  const entered = new Set(edges.map((edge) => edge.to));
  for (const node of [...nodes.filter((one) => !entered.has(one)), ...nodes])
    if (!state.has(node)) visit(node);
  return edges.map((edge) =>
    back.has(edge.index)
      ? { index: edge.index, from: edge.to, to: edge.from, turned: true }
      : { ...edge, turned: false },
  );
}

/** The longest way from a source, and sources moved up to the nodes that they feed. */
function ranks(nodes: readonly string[], edges: readonly Directed[]): Map<string, number> {
  const rank = new Map(nodes.map((node) => [node, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const { from, to } of edges) {
      const least = (rank.get(from) ?? 0) + 1;
      if ((rank.get(to) ?? 0) < least) {
        rank.set(to, least);
        moved = true;
      }
    }
    if (!moved) break;
  }
  for (const node of nodes) {
    if (edges.some((edge) => edge.to === node)) continue;
    const fed = edges.filter((edge) => edge.from === node).map((edge) => rank.get(edge.to) ?? 1);
    if (fed.length) rank.set(node, Math.min(...fed) - 1);
  }
  return rank;
}

function routed(
  edge: Directed,
  rank: ReadonlyMap<string, number>,
  layers: Slot[][],
): Route & { turned: boolean } {
  const keys = [edge.from];
  for (let at = (rank.get(edge.from) ?? 0) + 1; at < (rank.get(edge.to) ?? 0); at++) {
    const key = `\u0000${edge.index}/${at}`;
    layers[at]?.push({ key, node: null });
    keys.push(key);
  }
  return { edge: edge.index, keys: [...keys, edge.to], turned: edge.turned };
}

function ordered(layers: Slot[][], routes: readonly Route[]): Slot[][] {
  const pairs = routes.flatMap(({ keys }) =>
    keys.slice(1).map((key, index) => [keys[index] as string, key] as const),
  );
  const before = neighbours(pairs.map(([from, to]) => [to, from] as const)),
    after = neighbours(pairs);
  let best = layers,
    least = crossings(layers, pairs),
    now = layers;
  for (let sweep = 0; sweep < SWEEPS && least > 0; sweep++) {
    now = swept(now, sweep % 2 === 0 ? before : after, sweep % 2 === 0);
    const count = crossings(now, pairs);
    if (count < least) [best, least] = [now, count];
  }
  return best;
}

function neighbours(pairs: readonly (readonly [string, string])[]): Map<string, string[]> {
  const made = new Map<string, string[]>();
  for (const [one, other] of pairs) made.set(one, [...(made.get(one) ?? []), other]);
  return made;
}

/** Each layer sorted by where its neighbours stand in the layer that was sorted before it. */
function swept(layers: readonly Slot[][], near: ReadonlyMap<string, string[]>, down: boolean): Slot[][] {
  const made = layers.map((layer) => [...layer]);
  const numbers = layers.map((_, index) => index);
  for (const at of down ? numbers : numbers.reverse()) {
    const places = new Map((made[down ? at - 1 : at + 1] ?? []).map((slot, index) => [slot.key, index]));
    const wish = new Map(
      (made[at] ?? []).map((slot, index) => [slot.key, median(near.get(slot.key), places, index)]),
    );
    made[at]?.sort((one, other) => (wish.get(one.key) ?? 0) - (wish.get(other.key) ?? 0));
  }
  return made;
}

function median(
  keys: readonly string[] | undefined,
  places: ReadonlyMap<string, number>,
  otherwise: number,
): number {
  const found = (keys ?? []).flatMap((key) => places.get(key) ?? []).sort((one, other) => one - other);
  if (!found.length) return otherwise;
  const middle = (found.length - 1) / 2;
  return ((found[Math.floor(middle)] ?? 0) + (found[Math.ceil(middle)] ?? 0)) / 2;
}

export function crossings(layers: readonly Slot[][], pairs: readonly (readonly [string, string])[]): number {
  let count = 0;
  for (let at = 0; at + 1 < layers.length; at++) {
    const above = new Map(layers[at]?.map((slot, index) => [slot.key, index]));
    const below = new Map(layers[at + 1]?.map((slot, index) => [slot.key, index]));
    const here = pairs.flatMap(([from, to]) => {
      const a = above.get(from),
        b = below.get(to);
      return a === undefined || b === undefined ? [] : [[a, b] as const];
    });
    for (const [index, [a, b]] of here.entries())
      for (const [c, d] of here.slice(index + 1)) if ((a - c) * (b - d) < 0) count++;
  }
  return count;
}
