/** A long list draws what is in sight, and is as long as it is. */
import { describe, expect, it } from "vitest";
import { inSight } from "../../src/draw/rows";
import { markLanes, marksOf, nearest, toneOf, type LaneRow } from "../../src/draw/lanes";
import { stripOf, WINDOW_MS } from "../../src/talk/strip";

describe("rows in sight", () => {
  it.each([
    [0, 0],
    [500, -200],
    [500, 0],
    [500, 10000],
    [500, 99999],
    [3, 40],
  ])("of %i at %i are few, and with the space around as high as all", (count, top) => {
    const sight = inSight(count, 45, top, 800);
    expect(sight.above + sight.below + (sight.to - sight.from) * 45).toBe(count * 45);
    expect(sight.to - sight.from).toBeLessThanOrEqual(Math.ceil(800 / 45) + 13);
    expect(sight.from).toBeGreaterThanOrEqual(0);
  });

  it("hold every row that is seen", () => {
    const { from, to } = inSight(500, 45, 4500, 900);
    expect(from).toBeLessThanOrEqual(100);
    expect(to).toBeGreaterThanOrEqual(120);
  });
});

const row = (fields: Partial<LaneRow>): LaneRow => ({
  number: 1,
  atMs: 0,
  direction: "out",
  lane: "control",
  node: "",
  turn: null,
  kind: "signal",
  text: "",
  count: 1,
  ...fields,
});

describe("lanes", () => {
  it("stand in the order control, nodes as they come, telemetry; empty ones are left out", () => {
    const rows = [
      row({ lane: "telemetry" }),
      row({ lane: "data", node: "stt" }),
      row({}),
      row({ lane: "data", node: "llm" }),
      row({ lane: "data", node: "stt" }),
      row({ kind: "record" }),
    ];
    expect(markLanes(rows).map((lane) => [lane.name, lane.rows.length])).toEqual([
      ["control", 1],
      ["requests", 1],
      ["stt", 2],
      ["llm", 1],
      ["telemetry", 1],
    ]);
    expect(markLanes([])).toEqual([]);
  });

  it("know a signal by the name that its text begins with", () => {
    expect(toneOf(row({ text: "turn_open  ordinal=1" }))).toBe("turn");
    expect(toneOf(row({ text: "barge_in  speech" }))).toBe("bad");
    expect(toneOf(row({ text: "playback_started" }))).toBe("play");
    expect(toneOf(row({ text: "speech_started" }))).toBe("speech");
    expect(toneOf(row({ kind: "audio_received", lane: "data", direction: "in" }))).toBe("in");
  });

  it("put marks that would cover each other into tiers", () => {
    const rows = [0, 1, 2, 50].map((atMs) => row({ atMs }));
    expect(marksOf({ name: "control", tiers: 3, rows }, (ms) => ms, 10).map((mark) => mark.tier)).toEqual([
      0, 1, 2, 0,
    ]);
  });

  it("find the mark under the pointer", () => {
    const spots = [
      { x: 0, y: 0 },
      { x: 10, y: 0 },
    ];
    expect(nearest(spots, 7, 1, 8)).toBe(spots[1]);
    expect(nearest(spots, 100, 0, 8)).toBeNull();
  });
});

describe("the last minute", () => {
  it("is cut at its beginning, and ends now", () => {
    const now = 100_000;
    expect(
      stripOf(
        [
          { state: "thinking", fromMs: 0 },
          { state: "speaking", fromMs: now - WINDOW_MS / 2 },
        ],
        now,
      ),
    ).toEqual([
      { state: "thinking", from: 0, to: 0.5 },
      { state: "speaking", from: 0.5, to: 1 },
    ]);
    expect(
      stripOf(
        [
          { state: "thinking", fromMs: 0 },
          { state: "off", fromMs: 1000 },
        ],
        now,
      ),
    ).toEqual([]);
  });
});
