/**
 * Where a graph's nodes stand and how its edges run, in pixels: layers side by side, or one below the other on a phone.
 *
 * Within a layer a node goes as near to the middle of its neighbours as its order and the gaps allow, so that a chain is straight.
 */

import { layered, type GraphEdge, type Layered } from "./layers";

export interface Size {
  width: number;
  height: number;
}
export interface Placed extends Size {
  id: string;
  x: number;
  y: number;
}
export interface Drawn {
  edge: number;
  /** An SVG path. */
  path: string;
  /** Where its words go. */
  at: { x: number; y: number };
}
export interface Layout extends Size {
  nodes: Placed[];
  edges: Drawn[];
}
export interface Wishes {
  down: boolean;
  node: (id: string) => Size;
  /** Between layers, between neighbours in one, and around all. */
  layerGap: number;
  gap: number;
  margin: number;
}

const ROUNDS = 24;
const THROUGH = 14; // what an edge that passes a layer takes of it

interface Spot {
  key: string;
  size: number; // across the layer
  at: number; // its middle, across the layer
}

export function layout(ids: readonly string[], edges: readonly GraphEdge[], wishes: Wishes): Layout {
  if (!ids.length) return { width: 0, height: 0, nodes: [], edges: [] };
  const graph = layered(ids, edges);
  const rows = placed(graph, wishes);
  const across = new Map(rows.flat().map((spot) => [spot.key, spot.at]));
  const depths = depthsOf(graph, wishes);
  const layerOf = new Map(
    graph.layers.flatMap((layer, index) => layer.map((slot) => [slot.key, index] as const)),
  );
  const point = (key: string): readonly [number, number] => {
    const layer = layerOf.get(key) ?? 0;
    return [depths[layer]?.middle ?? 0, across.get(key) ?? 0];
  };
  const nodes = ids.map((id) => {
    const size = wishes.node(id),
      [main, side] = point(id);
    const [x, y] = wishes.down ? [side, main] : [main, side];
    return { id, ...size, x: x - size.width / 2, y: y - size.height / 2 };
  });
  const drawn = graph.routes.map(({ edge, keys }) => drawnEdge(edge, keys, point, wishes));
  const far = Math.max(...rows.flat().map((spot) => spot.at + spot.size / 2)) + wishes.margin;
  const deep = (depths.at(-1)?.end ?? 0) + wishes.margin;
  return { nodes, edges: drawn, width: wishes.down ? far : deep, height: wishes.down ? deep : far };
}

/** Each layer's middle and end along the way. */
function depthsOf(
  { layers }: Layered,
  { down, node, layerGap, margin }: Wishes,
): { middle: number; end: number }[] {
  let at = margin;
  return layers.map((layer) => {
    const sizes = layer.flatMap((slot) => (slot.node === null ? [] : [node(slot.node)]));
    const thick = Math.max(0, ...sizes.map((size) => (down ? size.height : size.width)));
    const made = { middle: at + thick / 2, end: at + thick };
    at += thick + layerGap;
    return made;
  });
}

function placed({ layers, routes }: Layered, { down, node, gap, margin }: Wishes): Spot[][] {
  const rows = layers.map((layer) => {
    let at = 0;
    return layer.map((slot): Spot => {
      const size = slot.node === null ? THROUGH : down ? node(slot.node).width : node(slot.node).height;
      const spot = { key: slot.key, size, at: at + size / 2 };
      at += size + gap;
      return spot;
    });
  });
  const near = new Map<string, string[]>();
  for (const { keys } of routes) {
    for (const [index, key] of keys.entries()) {
      const beside = [keys[index - 1], keys[index + 1]].filter((one) => one !== undefined);
      near.set(key, [...(near.get(key) ?? []), ...beside]);
    }
  }
  settle(rows, near, gap);
  const least = Math.min(...rows.flat().map((spot) => spot.at - spot.size / 2));
  for (const spot of rows.flat()) spot.at = Math.round((spot.at - least + margin) * 2) / 2;
  return rows;
}

/** Toward the middle of the neighbours, round by round, up the layers and down again; never nearer than `gap`. */
function settle(rows: Spot[][], near: ReadonlyMap<string, string[]>, gap: number): void {
  const spots = new Map(rows.flat().map((spot) => [spot.key, spot]));
  for (let round = 0; round < ROUNDS; round++) {
    for (const row of round % 2 ? [...rows].reverse() : rows) {
      const wishes = row.map((spot) => {
        const beside = (near.get(spot.key) ?? []).flatMap((key) => spots.get(key)?.at ?? []);
        return beside.length ? beside.reduce((sum, at) => sum + at, 0) / beside.length : spot.at;
      });
      spread(row, wishes, gap);
    }
  }
}

/** The spots as near to their wishes as their order allows: those that would overlap move together, to their common middle. */
function spread(row: Spot[], wishes: readonly number[], gap: number): void {
  interface Block {
    spots: Spot[];
    offsets: number[];
    sum: number;
    at: number;
    length: number;
  }
  const blocks: Block[] = [];
  row.forEach((spot, index) => {
    const wish = wishes[index] ?? spot.at;
    let block: Block = { spots: [spot], offsets: [0], sum: wish, at: wish, length: spot.size };
    for (
      let last = blocks.at(-1);
      last && last.at + reach(last) + gap > block.at - half(block);
      last = blocks.at(-1)
    ) {
      blocks.pop();
      block = joined(last, block, gap);
    }
    blocks.push(block);
  });
  for (const block of blocks)
    block.spots.forEach((spot, index) => {
      spot.at = block.at + (block.offsets[index] ?? 0);
    });

  function half(block: Block): number {
    return (block.spots[0]?.size ?? 0) / 2;
  }
  /** From the first spot's middle to the block's end. */
  function reach(block: Block): number {
    return block.length - half(block);
  }
  function joined(one: Block, other: Block, space: number): Block {
    const shift = reach(one) + space + half(other);
    const sum = one.sum + other.sum - shift * other.spots.length;
    const spots = [...one.spots, ...other.spots];
    return {
      spots,
      offsets: [...one.offsets, ...other.offsets.map((offset) => offset + shift)],
      sum,
      at: sum / spots.length,
      length: one.length + space + other.length,
    };
  }
}

type Point = readonly [number, number];

/** From the source's rim to the target's, in curves that leave and arrive along the way. */
function drawnEdge(
  edge: number,
  keys: readonly string[],
  point: (key: string) => Point,
  wishes: Wishes,
): Drawn {
  const first = keys[0] as string,
    last = keys.at(-1) as string;
  const main = (size: Size): number => (wishes.down ? size.height : size.width) / 2;
  const onward = point(last)[0] >= point(first)[0] ? 1 : -1;
  const points: Point[] = keys.map((key) => {
    const [along, side] = point(key);
    if (key === first) return [along + onward * main(wishes.node(first)), side];
    if (key === last) return [along - onward * main(wishes.node(last)), side];
    return [along, side];
  });
  const xy = ([along, side]: Point): string =>
    wishes.down ? `${round(side)} ${round(along)}` : `${round(along)} ${round(side)}`;
  let path = `M${xy(points[0] as Point)}`;
  for (const [index, to] of points.slice(1).entries()) {
    const from = points[index] as Point,
      bend = (to[0] - from[0]) / 2;
    path += ` C${xy([from[0] + bend, from[1]])} ${xy([to[0] - bend, to[1]])} ${xy(to)}`;
  }
  const [a, b] = [points[0] as Point, points[1] as Point];
  const [along, side] = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  return { edge, path, at: wishes.down ? { x: side, y: along } : { x: along, y: side } };
}

const round = (value: number): number => Math.round(value * 10) / 10;
