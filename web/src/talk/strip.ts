/** The states of the last minute as shares of it. */
import type { Span, State } from "./conversation";

export const WINDOW_MS = 60_000;

export interface StripPiece {
  state: State;
  /** From 0, a minute ago, to 1, now. */
  from: number;
  to: number;
}

/** Each state from its moment to the next one's; what lies before the window is cut off. */
export function stripOf(spans: readonly Span[], nowMs: number): StripPiece[] {
  const share = (ms: number): number => Math.max(0, Math.min(1, 1 - (nowMs - ms) / WINDOW_MS));
  return spans.flatMap(({ state, fromMs }, index) => {
    const to = share(spans[index + 1]?.fromMs ?? nowMs),
      from = share(fromMs);
    return to > from && state !== "off" ? [{ state, from, to }] : [];
  });
}
