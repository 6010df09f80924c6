/** Which rows of a long list are in sight; the others are empty space of the same height. */

export interface InSight {
  from: number;
  to: number;
  /** Pixels above the first and below the last. */
  above: number;
  below: number;
}

const MORE = 6; // rows beyond each edge, so that scrolling never shows an empty one

/** `top` is how far the list's first row is above the edge of what is seen; negative where it is below. */
export function inSight(count: number, rowHigh: number, top: number, high: number): InSight {
  const first = Math.floor(top / rowHigh) - MORE,
    last = Math.ceil((top + high) / rowHigh) + MORE;
  const from = Math.max(0, Math.min(count, first)),
    to = Math.max(from, Math.min(count, last));
  return { from, to, above: from * rowHigh, below: (count - to) * rowHigh };
}
