/** Zoom, pan, axis, waveform and waterfall: sums that are never drawn wrong. */
import { describe, expect, it } from "vitest";
import { columns } from "../../src/draw/peaks";
import { clamped, clock, following, panned, scaleOf, SPAN_MS_MIN, ticks, zoomed } from "../../src/draw/view";
import { barOf, highest } from "../../src/draw/waterfall";

const END = 60000;

describe("the view", () => {
  it("never leaves the recording, and never shrinks to nothing", () => {
    expect(clamped(-500, 1000, END)).toEqual({ fromMs: 0, toMs: 1000 });
    expect(clamped(59900, 1000, END)).toEqual({ fromMs: 59000, toMs: 60000 });
    expect(clamped(10, 0, END)).toEqual({ fromMs: 10, toMs: 10 + SPAN_MS_MIN });
    expect(clamped(0, 10 * END, END)).toEqual({ fromMs: 0, toMs: END });
  });

  it("keeps the moment under the pointer where it is", () => {
    const before = { fromMs: 10000, toMs: 20000 },
      at = 12500;
    const after = zoomed(before, 0.5, at, END);
    expect(scaleOf(after, 0, 100).x(at)).toBeCloseTo(scaleOf(before, 0, 100).x(at));
    expect(zoomed(zoomed(before, 0.5, at, END), 2, at, END)).toEqual(before);
  });

  it("pans by parts, and stops at the ends", () => {
    expect(panned({ fromMs: 0, toMs: 1000 }, 0.5, END)).toEqual({ fromMs: 500, toMs: 1500 });
    expect(panned({ fromMs: 0, toMs: 1000 }, -5, END)).toEqual({ fromMs: 0, toMs: 1000 });
  });

  it("follows the sound only when it runs out of sight", () => {
    const view = { fromMs: 0, toMs: 1000 };
    expect(following(view, 900, END)).toBe(view);
    expect(following(view, 1100, END)).toEqual({ fromMs: 1000, toMs: 2000 });
  });

  it("maps there and back", () => {
    const scale = scaleOf({ fromMs: 1000, toMs: 3000 }, 80, 880);
    expect(scale.x(2000)).toBe(480);
    expect(scale.ms(scale.x(1234))).toBeCloseTo(1234);
  });

  it("ticks at round moments, not more than there is room for", () => {
    expect(ticks({ fromMs: 0, toMs: 1000 }, 5)).toEqual([0, 200, 400, 600, 800, 1000]);
    for (const to of [137, 999, 5021, 60000, 3.6e6])
      expect(ticks({ fromMs: 0, toMs: to }, 8).length).toBeLessThanOrEqual(9);
  });

  it("says a moment as a clock does", () => {
    expect(clock(62500)).toBe("1:02.5");
    expect(clock(900, 3)).toBe("0:00.900");
    expect(clock(61000, 0)).toBe("1:01");
  });
});

describe("a waveform", () => {
  it("shows the loudest peak under each pixel", () => {
    const peaks = Array.from({ length: 1000 }, (_, n) => (n === 500 ? 0.9 : 0.1));
    const made = columns(peaks, 10000, { fromMs: 0, toMs: 10000 }, 0, 20, 2);
    expect(made).toHaveLength(10);
    expect(made.map(({ peak }) => peak)).toEqual([0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1, 0.1]);
  });

  it("has nothing outside the recording, and copes with none", () => {
    expect(columns([1, 1], 1000, { fromMs: 2000, toMs: 3000 }, 0, 100)).toEqual([]);
    expect(columns([], 1000, { fromMs: 0, toMs: 1000 }, 0, 100)).toEqual([]);
    expect(columns([0.5], 1000, { fromMs: 0, toMs: 10 }, 0, 4, 2)).toEqual([
      { x: 0, peak: 0.5 },
      { x: 2, peak: 0.5 },
    ]);
  });
});

describe("a waterfall", () => {
  it("adds up to the whole, and shows what no stage accounts for", () => {
    const stages = [
      { name: "stt", beganMs: 5, tookMs: 200 },
      { name: "llm", beganMs: 0, tookMs: 0 },
      { name: "playout", beganMs: 9, tookMs: 50 },
    ];
    const bar = barOf({ number: 3, stages, heardAfterMs: 300 });
    expect(bar.pieces).toEqual([
      { name: "stt", fromMs: 0, toMs: 200 },
      { name: "playout", fromMs: 200, toMs: 250 },
      { name: "unknown", fromMs: 250, toMs: 300 },
    ]);
    expect(highest([bar])).toBe(300);
    expect(barOf({ number: 1, stages: [], heardAfterMs: null }).pieces).toEqual([]);
    expect(highest([])).toBe(1);
  });
});
