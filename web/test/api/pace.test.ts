/** A query is asked at most once a second, never twice at once, and the last wish is never lost; what was missed is noticed. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Heard, Paced } from "../../src/api/pace";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function counted(takesMs = 0): { runs: number[]; paced: Paced } {
  const runs: number[] = [];
  const run = async (): Promise<void> => {
    runs.push(Date.now());
    if (takesMs > 0) await new Promise((done) => setTimeout(done, takesMs));
  };
  return { runs, paced: new Paced(run, 1_000, () => Date.now()) };
}

test("a first wish is run at once, and a hundred more within the second are one run at its end", async () => {
  const { runs, paced } = counted();
  paced.ask();
  for (let wish = 0; wish < 100; wish += 1) {
    await vi.advanceTimersByTimeAsync(9);
    paced.ask();
  }
  await vi.advanceTimersByTimeAsync(5_000);
  expect(runs.length).toBe(2);
  expect(runs[1]! - runs[0]!).toBe(1_000);
});

test("a wish during a slow run waits for its end and is not lost", async () => {
  const { runs, paced } = counted(3_000);
  paced.ask();
  await vi.advanceTimersByTimeAsync(100);
  paced.ask();
  await vi.advanceTimersByTimeAsync(2_800);
  expect(runs.length).toBe(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(runs.length).toBe(2);
});

test("somebody who presses the button does not wait for the pace", async () => {
  const { runs, paced } = counted();
  paced.ask();
  await vi.advanceTimersByTimeAsync(10);
  paced.now();
  await vi.advanceTimersByTimeAsync(0);
  expect(runs.length).toBe(2);
});

test("after it was stopped nothing runs, not even what was wished before", async () => {
  const { runs, paced } = counted();
  paced.ask();
  await vi.advanceTimersByTimeAsync(10);
  paced.ask();
  paced.stop();
  await vi.advanceTimersByTimeAsync(5_000);
  expect(runs.length).toBe(1);
});

test("numbers may have holes; something was missed only where the message before went further than what was heard", () => {
  const heard = new Heard();
  expect(heard.missed({ sequence: 10, after: 10 })).toBe(false);
  expect(heard.missed({ sequence: 25, after: 10 })).toBe(false);
  expect(heard.missed({ sequence: 40, after: 30 })).toBe(true);
  expect(heard.missed({ sequence: 41, after: 40 })).toBe(false);
  expect(heard.missed({ sequence: 20, after: 20 })).toBe(false);
  heard.forget();
  expect(heard.missed({ sequence: 3, after: 3 })).toBe(false);
});
