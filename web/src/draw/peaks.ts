/** A waveform at any zoom: the loudest peak under each pixel, so that nothing loud is ever drawn away. */

import type { View } from "./view";

export interface Column {
  x: number;
  peak: number;
}

/** Peaks that lie evenly over `lastsMs`, as columns of `wide` pixels from `left` to `right`. */
export function columns(
  peaks: readonly number[],
  lastsMs: number,
  view: View,
  left: number,
  right: number,
  wide = 2,
): Column[] {
  if (!peaks.length || lastsMs <= 0) return [];
  const perPeak = lastsMs / peaks.length;
  const msPerPixel = (view.toMs - view.fromMs) / (right - left);
  const made: Column[] = [];
  for (let x = left; x < right; x += wide) {
    const from = view.fromMs + (x - left) * msPerPixel,
      to = from + wide * msPerPixel;
    if (to <= 0 || from >= lastsMs) continue;
    const first = Math.max(0, Math.floor(from / perPeak));
    const last = Math.min(peaks.length - 1, Math.max(first, Math.ceil(to / perPeak) - 1));
    let peak = 0;
    for (let index = first; index <= last; index++) peak = Math.max(peak, peaks[index] ?? 0);
    made.push({ x, peak: Math.min(1, peak) });
  }
  return made;
}
