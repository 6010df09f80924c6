/** Where each turn's time went, as pieces of one bar; the pieces of a turn always add up to its whole. */

export interface StageTime {
  name: string;
  beganMs: number;
  tookMs: number;
}
export interface Waited {
  number: number;
  stages: readonly StageTime[];
  heardAfterMs: number | null;
}
export interface Piece {
  name: string;
  fromMs: number;
  toMs: number;
}
export interface Bar {
  turn: number;
  pieces: Piece[];
  wholeMs: number | null;
}

/** The stages in the order in which they follow each other; what is not among them is drawn in a neutral colour. */
export const STAGES = ["endpointing", "stt", "llm_first_token", "llm", "tts_first_audio", "playout"] as const;

/** Stages one behind the other from 0; what they leave of the whole is a piece of its own, never hidden. */
export function barOf(turn: Waited): Bar {
  const pieces: Piece[] = [];
  let at = 0;
  for (const { name, tookMs } of turn.stages) {
    if (tookMs <= 0) continue;
    pieces.push({ name, fromMs: at, toMs: at + tookMs });
    at += tookMs;
  }
  const whole = turn.heardAfterMs;
  if (whole !== null && whole - at > 0.5) pieces.push({ name: "unknown", fromMs: at, toMs: whole });
  return { turn: turn.number, pieces, wholeMs: whole };
}

/** The longest bar, for the axis. */
export function highest(bars: readonly Bar[]): number {
  return Math.max(1, ...bars.map((bar) => Math.max(bar.wholeMs ?? 0, bar.pieces.at(-1)?.toMs ?? 0)));
}

export const stageWords = (name: string): string =>
  ({
    stt: "speech to text",
    llm_first_token: "first token",
    llm: "first sentence",
    tts_first_audio: "first audio",
  })[name] ?? name.replaceAll("_", " ");
