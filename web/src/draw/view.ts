/** The piece of a recording that is in sight, and how it moves: pure sums over milliseconds and pixels. */

export interface View {
  fromMs: number;
  toMs: number;
}

/** Closer there is nothing more to see. */
export const SPAN_MS_MIN = 100;

/** A window of this length within 0..endMs. */
export function clamped(fromMs: number, spanMs: number, endMs: number): View {
  const span = Math.min(Math.max(spanMs, SPAN_MS_MIN), Math.max(endMs, SPAN_MS_MIN));
  const from = Math.min(Math.max(fromMs, 0), Math.max(0, endMs - span));
  return { fromMs: from, toMs: from + span };
}

export const spanOf = (view: View): number => view.toMs - view.fromMs;

/** A factor below 1 looks closer; `aroundMs` stays where it is. */
export function zoomed(view: View, factor: number, aroundMs: number, endMs: number): View {
  const span = Math.min(Math.max(spanOf(view) * factor, SPAN_MS_MIN), Math.max(endMs, SPAN_MS_MIN));
  const part = (aroundMs - view.fromMs) / spanOf(view);
  return clamped(aroundMs - span * part, span, endMs);
}

/** By a part of what is in sight; 1 is a whole page on. */
export function panned(view: View, part: number, endMs: number): View {
  return clamped(view.fromMs + spanOf(view) * part, spanOf(view), endMs);
}

/** The same length, moved only if the moment is not in sight. */
export function following(view: View, atMs: number, endMs: number): View {
  if (atMs >= view.fromMs && atMs <= view.toMs) return view;
  return clamped(atMs - spanOf(view) * 0.1, spanOf(view), endMs);
}

export interface Scale {
  x(ms: number): number;
  ms(x: number): number;
}

/** Milliseconds in sight onto the pixels from `left` to `right`. */
export function scaleOf(view: View, left: number, right: number): Scale {
  const perMs = (right - left) / spanOf(view);
  return { x: (ms) => left + (ms - view.fromMs) * perMs, ms: (x) => view.fromMs + (x - left) / perMs };
}

/** Round moments for an axis, at most `most` of them. */
export function ticks(view: View, most: number): number[] {
  const raw = spanOf(view) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw) ?? raw;
  const made: number[] = [];
  for (let n = Math.ceil(view.fromMs / step); n * step <= view.toMs; n++) made.push(n * step);
  return made;
}

/** `1:02.5`, as precise as the steps are. */
export function clock(ms: number, digits = 1): string {
  const minutes = Math.floor(ms / 60000),
    seconds = (ms - minutes * 60000) / 1000;
  return `${minutes}:${seconds.toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}
