/**
 * Everything that the lanes of a session show, laid out for one width and one view: rectangles, dots, waveforms and words with
 * the name of their colour. Pure; `paint.ts` puts it on a canvas, and a pointer finds in it what it points at.
 */
import { marksOf, markLanes, nameOf, type LaneRow, type Tone } from "./lanes";
import { columns } from "./peaks";
import { clock, scaleOf, spanOf, ticks, type View } from "./view";
import { barOf, stageWords, type StageTime } from "./waterfall";

export interface SceneTurn {
  number: number;
  beganMs: number;
  endedMs: number | null;
  outcome: string;
  reason: string;
  stages: readonly StageTime[];
  heardAfterMs: number | null;
}
export interface SceneSaid {
  speaker: string;
  atMs: number;
  heardMs: number | null;
  interrupted: boolean;
}
export interface SceneSound {
  side: string;
  seconds: number;
  peaks: readonly number[];
}
export interface Given {
  rows: readonly LaneRow[];
  turns: readonly SceneTurn[];
  said: readonly SceneSaid[];
  sounds: readonly SceneSound[];
  endMs: number;
}

/** The name of a colour: a custom property of the page, without its dashes. */
export type Ink =
  | "accent"
  | "ok-mark"
  | "degraded-mark"
  | "failed-mark"
  | "notice-mark"
  | "line-strong"
  | "muted"
  | "text"
  | "line"
  | "stage-token"
  | "stage-llm";
export interface Shape {
  kind: "box" | "dot" | "ring";
  x: number;
  y: number;
  wide: number;
  high: number;
  ink: Ink;
  faint?: number;
}
export interface Words {
  x: number;
  y: number;
  text: string;
  ink: Ink;
  wide: number;
}
export interface Band {
  name: string;
  y: number;
  high: number;
}
/** A place that can be pointed at: what it is, and the moment it stands for. */
export interface Hot {
  x: number;
  y: number;
  wide: number;
  text: string;
  atMs: number;
}
export interface Scene {
  width: number;
  height: number;
  left: number;
  bands: Band[];
  shapes: Shape[];
  words: Words[];
  ticks: { x: number; text: string }[];
  hot: Hot[];
}

export const AXIS_PX = 22;
const TONES: Readonly<Record<Tone, Ink>> = {
  plain: "line-strong",
  in: "muted",
  turn: "accent",
  speech: "notice-mark",
  play: "ok-mark",
  bad: "failed-mark",
};
export const STAGE_INKS: Readonly<Record<string, Ink>> = {
  endpointing: "line-strong",
  stt: "notice-mark",
  llm_first_token: "stage-token",
  llm: "stage-llm",
  tts_first_audio: "degraded-mark",
  playout: "ok-mark",
};

export function sceneOf(given: Given, view: View, width: number): Scene {
  const left = width < 560 ? 76 : 96;
  const scale = scaleOf(view, left, width);
  const scene: Scene = {
    width,
    height: AXIS_PX,
    left,
    bands: [],
    shapes: [],
    words: [],
    ticks: axis(view, width, left),
    hot: [],
  };
  const seen = (fromMs: number, toMs: number): boolean => toMs >= view.fromMs && fromMs <= view.toMs;
  const box = (fromMs: number, toMs: number, y: number, high: number, ink: Ink, faint?: number): void => {
    const x = Math.max(scale.x(fromMs), left),
      to = Math.min(scale.x(toMs), width);
    scene.shapes.push({
      kind: "box",
      x,
      y,
      wide: Math.max(1, to - x),
      high,
      ink,
      ...(faint === undefined ? {} : { faint }),
    });
  };
  const band = (name: string, high: number): number => {
    const y = scene.height;
    scene.bands.push({ name, y, high });
    scene.height += high;
    return y;
  };
  const context: Context = { given, view, scene, left, width, x: scale.x, seen, box, band };
  turnsBand(context);
  soundBand(context, "caller", "notice-mark");
  waitingBand(context);
  soundBand(context, "assistant", "ok-mark");
  markBands(context);
  return scene;
}

interface Context {
  given: Given;
  view: View;
  scene: Scene;
  left: number;
  width: number;
  x: (ms: number) => number;
  seen: (fromMs: number, toMs: number) => boolean;
  box: (fromMs: number, toMs: number, y: number, high: number, ink: Ink, faint?: number) => void;
  band: (name: string, high: number) => number;
}

function axis(view: View, width: number, left: number): { x: number; text: string }[] {
  const digits = spanOf(view) > 30000 ? 0 : spanOf(view) > 3000 ? 1 : 2;
  const scale = scaleOf(view, left, width);
  return ticks(view, Math.max(3, Math.floor((width - left) / 80))).map((at) => ({
    x: scale.x(at),
    text: clock(at, digits),
  }));
}

function turnsBand({ given, scene, x, seen, box, band, left, width }: Context): void {
  if (!given.turns.length) return;
  const y = band("turns", 28);
  for (const turn of given.turns) {
    const to = turn.endedMs ?? given.endMs;
    if (!seen(turn.beganMs, to)) continue;
    const fine = turn.outcome === "commit" || turn.outcome === "open";
    box(turn.beganMs, to, y + 4, 20, fine ? "accent" : "failed-mark", 0.22);
    const at = Math.max(x(turn.beganMs), left),
      wide = Math.min(x(to), width) - at;
    const words = `${turn.number} ${turn.outcome}${turn.reason ? `, ${turn.reason}` : ""}`;
    if (wide > 16)
      scene.words.push({
        x: at + 5,
        y: y + 18,
        text: wide > 70 ? words : String(turn.number),
        ink: "text",
        wide: wide - 8,
      });
    scene.hot.push({
      x: at,
      y: y + 14,
      wide: Math.max(wide, 4),
      text: `Turn ${words}: ${clock(turn.beganMs, 2)} to ${clock(to, 2)}`,
      atMs: turn.beganMs,
    });
  }
}

/** The recorded sound; where there is none, what is known of when something was to be heard. */
function soundBand(
  { given, view, scene, seen, box, band, left, width }: Context,
  side: string,
  ink: Ink,
): void {
  const sound = given.sounds.find((one) => one.side === side);
  const speakers = side === "caller" ? ["caller", "user"] : ["assistant"];
  const said = given.said.filter((one) => speakers.includes(one.speaker) && one.heardMs !== null);
  if (!sound?.peaks.length && !said.length) return;
  const high = 44,
    y = band(side, high);
  for (const one of said) {
    const to = one.atMs + (one.heardMs ?? 0);
    if (seen(one.atMs, to)) box(one.atMs, to, y + 5, high - 10, ink, 0.2);
    if (one.interrupted && seen(to, to)) box(to, to, y + 2, high - 4, "failed-mark");
  }
  for (const { x: at, peak } of columns(
    sound?.peaks ?? [],
    (sound?.seconds ?? 0) * 1000,
    view,
    left,
    width,
  )) {
    const tall = Math.max(1, peak * (high - 8));
    scene.shapes.push({ kind: "box", x: at, y: y + (high - tall) / 2, wide: 1.4, high: tall, ink });
  }
}

function waitingBand({ given, scene, x, seen, box, band }: Context): void {
  const waits = given.turns.filter((turn) => turn.stages.length > 0);
  if (!waits.length) return;
  const y = band("waiting", 22);
  for (const turn of waits) {
    const from = turn.stages[0]?.beganMs ?? turn.beganMs;
    const { pieces } = barOf(turn);
    if (!seen(from, from + (pieces.at(-1)?.toMs ?? 0))) continue;
    for (const piece of pieces) {
      box(from + piece.fromMs, from + piece.toMs, y + 5, 12, STAGE_INKS[piece.name] ?? "line-strong");
      const text = `Turn ${turn.number}: ${stageWords(piece.name)} ${Math.round(piece.toMs - piece.fromMs)} ms`;
      scene.hot.push({
        x: x(from + piece.fromMs),
        y: y + 11,
        wide: Math.max(4, x(from + piece.toMs) - x(from + piece.fromMs)),
        text,
        atMs: from + piece.fromMs,
      });
    }
  }
}

function markBands({ given, scene, x, seen, band, left, width }: Context): void {
  for (const lane of markLanes(given.rows)) {
    const high = lane.tiers * 14 + 8,
      y = band(lane.name, high);
    const shown = { ...lane, rows: lane.rows.filter((row) => seen(row.atMs, row.atMs)) };
    const marks = marksOf(shown, x, 9);
    marks.forEach((mark, index) => {
      const at = x(mark.row.atMs),
        middle = y + 4 + mark.tier * 14 + 7;
      scene.shapes.push({
        kind: mark.tone === "in" ? "ring" : "dot",
        x: at,
        y: middle,
        wide: 7,
        high: 7,
        ink: TONES[mark.tone],
      });
      scene.hot.push({ x: at - 4, y: middle, wide: 8, text: told(mark.row), atMs: mark.row.atMs });
      const name = nameOf(mark.row),
        next = marks.slice(index + 1).find((one) => one.tier === mark.tier);
      const room = (next ? x(next.row.atMs) : width) - at - 12;
      if (lane.tiers > 1 && at >= left && room > name.length * 6.2)
        scene.words.push({ x: at + 7, y: middle + 4, text: name, ink: "muted", wide: room });
    });
  }
}

const told = (row: LaneRow): string =>
  [
    `${clock(row.atMs, 3)} ${row.lane} ${row.kind}`,
    row.node,
    row.turn === null ? "" : `turn ${row.turn}`,
    row.count > 1 ? `${row.count} in a row` : "",
    row.text.slice(0, 160),
  ]
    .filter(Boolean)
    .join(" · ");

/** What lies under a place; the narrowest of several, since it lies on top. */
export function hotAt(scene: Scene, x: number, y: number): Hot | null {
  const under = scene.hot.filter(
    (one) => Math.abs(one.y - y) <= 9 && x >= one.x - 2 && x <= one.x + one.wide + 2,
  );
  return under.reduce<Hot | null>((best, one) => (best === null || one.wide < best.wide ? one : best), null);
}
