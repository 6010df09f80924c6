/** The player plays what came, in order, stops where it must, and says what was heard and when it fell silent. */
import { describe, expect, it } from "vitest";
import { Player, type Heard } from "../../src/talk/player";

const RATE = 1000; // a sample is a millisecond, so that the sums below can be read

function playing(cardRate = RATE): { player: Player; told: Heard[]; run: (ms: number) => number[] } {
  const told: Heard[] = [];
  const player = new Player({ rate: RATE, cardRate, firstMs: 4, toldMs: 1000, queueMsMax: 100 }, (heard) =>
    told.push(heard),
  );
  const run = (samples: number): number[] => {
    const out = new Float32Array(samples);
    player.fill(out);
    return [...out].map((value) => Math.round(value * 32768));
  };
  return { player, told, run };
}
const ramp = (from: number, length: number): Int16Array => Int16Array.from({ length }, (_, n) => from + n);

describe("the player", () => {
  it("waits for enough of a turn, then plays every sample once", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 3), false);
    expect(run(4)).toEqual([0, 0, 0, 0]);
    player.frame(1, ramp(4, 3), true);
    expect(run(8)).toEqual([1, 2, 3, 4, 5, 6, 0, 0]);
    expect(told).toEqual([
      { what: "started", turn: 1, heardMs: 0, offset: 0 },
      { what: "completed", turn: 1, heardMs: 6, offset: 6 },
    ]);
  });

  it("plays a turn that is shorter than the wait, as soon as its end is known", () => {
    const { player, run } = playing();
    player.frame(1, ramp(1, 2), true);
    expect(run(3)).toEqual([1, 2, 0]);
  });

  it("is silent at once when paused, says at which sample, and goes on where it was", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 10), true);
    run(4);
    player.pause();
    expect(run(3)).toEqual([0, 0, 0]);
    player.resume();
    expect(run(2)).toEqual([5, 6]);
    expect(told.map(({ what }) => what)).toEqual(["started", "position", "silent"]);
    expect(told[2]).toEqual({ what: "silent", turn: 1, heardMs: 4, offset: 0 });
  });

  it("keeps what it is told to keep past the play head, then is silent, and takes no more of that turn", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 50), false);
    run(4);
    player.stop(1, 3);
    player.frame(1, ramp(90, 5), true);
    expect(run(6)).toEqual([5, 6, 7, 0, 0, 0]);
    expect(told.at(-1)).toEqual({ what: "silent", turn: 1, heardMs: 7, offset: 3 });
    expect(told.filter(({ what }) => what === "gap" || what === "completed")).toEqual([]);
  });

  it("a stop after a pause keeps nothing, and tells silence once", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 50), false);
    run(4);
    player.pause();
    run(1);
    player.stop(1, 20);
    expect(run(3)).toEqual([0, 0, 0]);
    expect(told.filter(({ what }) => what === "silent")).toHaveLength(1);
  });

  it("plays the next turn after one that was stopped, from its first sample, counted anew", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 50), false);
    run(4);
    player.stop(1, 0);
    player.frame(2, ramp(60, 4), true);
    expect(run(6)).toEqual([60, 61, 62, 63, 0, 0]);
    expect(told.at(-1)).toEqual({ what: "completed", turn: 2, heardMs: 4, offset: 4 });
    expect(told.filter(({ what }) => what === "silent")).toEqual([
      { what: "silent", turn: 1, heardMs: 4, offset: 0 },
    ]);
  });

  it("a stop of a turn that waits behind another leaves the one that plays", () => {
    const { player, run } = playing();
    player.frame(1, ramp(1, 4), true);
    player.frame(2, ramp(60, 4), true);
    player.stop(2, 50);
    expect(run(6)).toEqual([1, 2, 3, 4, 0, 0]);
  });

  it("tells a hole in a turn with its length, and none between turns", () => {
    const { player, told, run } = playing();
    player.frame(1, ramp(1, 4), false);
    run(9);
    player.frame(1, ramp(5, 4), true);
    run(6);
    player.frame(2, ramp(1, 4), true);
    run(6);
    expect(told.filter(({ what }) => what === "gap")).toEqual([{ what: "gap", turn: 1, ms: 5, offset: 0 }]);
  });

  it("drops what the queue has no room for, and says so", () => {
    const { player, told } = playing();
    player.frame(1, ramp(1, 90), false);
    player.frame(1, ramp(1, 20), false);
    expect(told).toEqual([{ what: "dropped", turn: 1, ms: 20, offset: 0 }]);
  });

  it("tells its position every so often", () => {
    const told: Heard[] = [];
    const player = new Player(
      { rate: RATE, cardRate: RATE, firstMs: 4, toldMs: 10, queueMsMax: 100 },
      (heard) => told.push(heard),
    );
    player.frame(1, ramp(1, 40), false);
    for (let block = 0; block < 4; block++) player.fill(new Float32Array(8));
    expect(
      told.filter(({ what }) => what === "position").map((heard) => "heardMs" in heard && heard.heardMs),
    ).toEqual([16, 32]);
  });

  it("stretches what comes to the card's rate, and counts in the turn's own time", () => {
    const { player, told, run } = playing(3 * RATE);
    player.frame(1, Int16Array.of(0, 30, 60, 90), true);
    expect(run(12)).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 90, 90]);
    run(1);
    expect(told.at(-1)).toMatchObject({ what: "completed", heardMs: 4 });
  });
});
