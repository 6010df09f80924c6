/** The resampler keeps what is speech, takes away what would fold into it, and does not care where blocks end. */
import { describe, expect, it } from "vitest";
import { Framer, pcm16, Resampler } from "../../src/talk/resample";

const BLOCK = 128;
const tone = (hz: number, rate: number, seconds: number): Float32Array =>
  Float32Array.from({ length: Math.round(rate * seconds) }, (_, n) =>
    Math.sin((2 * Math.PI * hz * n) / rate),
  );

function resampled(source: Float32Array, from: number, to: number, block = BLOCK): number[] {
  const resampler = new Resampler(from, to);
  const made: number[] = [];
  for (let at = 0; at < source.length; at += block)
    made.push(...resampler.take(source.subarray(at, at + block)));
  return made;
}

/** Root of the mean square, without the beginning, where the filter fills. */
const power = (samples: number[]): number => {
  const settled = samples.slice(100);
  return Math.sqrt(settled.reduce((sum, one) => sum + one * one, 0) / settled.length);
};

describe.each([48000, 44100, 16000, 96000])("from %i Hz to 16 kHz", (from) => {
  it.each([120, 1000, 4000, 6000])("a tone of %i Hz stays as loud as it was", (hz) => {
    expect(power(resampled(tone(hz, from, 0.25), from, 16000))).toBeCloseTo(Math.SQRT1_2, 1);
  });

  it("a second makes a second", () => {
    const made = resampled(tone(300, from, 1), from, 16000).length;
    expect(made).toBeGreaterThan(15950);
    expect(made).toBeLessThanOrEqual(16000);
  });

  it("where blocks end is not to be heard", () => {
    const source = tone(700, from, 0.1);
    const whole = resampled(source, from, 16000, source.length),
      cut = resampled(source, from, 16000, 37);
    expect(cut.length).toBe(whole.length);
    expect(Math.max(...cut.map((one, index) => Math.abs(one - (whole[index] ?? 9))))).toBeLessThan(1e-5);
  });
});

describe.each([48000, 44100])("what 16 kHz cannot hold, from %i Hz,", (from) => {
  it.each([9500, 12000, 15000, 19000])("is gone, and not folded into speech: %i Hz", (hz) => {
    expect(power(resampled(tone(hz, from, 0.25), from, 16000))).toBeLessThan(0.01);
  });
});

describe("the rest", () => {
  it("holds what is too loud at the end of the scale", () => {
    expect([...pcm16(Float32Array.of(2, -2, 0.5, 0))]).toEqual([32767, -32768, 16384, 0]);
  });

  it("cuts frames of one length out of blocks of any", () => {
    const frames: number[][] = [];
    const framer = new Framer(4);
    for (const block of [[1, 2, 3], [4, 5, 6, 7, 8, 9], [], [10, 11, 12]])
      framer.take(Int16Array.from(block), (frame) => frames.push([...frame]));
    expect(frames).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
      [9, 10, 11, 12],
    ]);
  });
});
