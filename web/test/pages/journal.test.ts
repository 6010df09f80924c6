/** What is missing from the journal is found, and what is only filtered is not. */
import { expect, test } from "vitest";
import type { StateChange } from "../../src/api/types";
import { gaps } from "../../src/pages/journal/gaps";

function at(...sequences: number[]): StateChange[] {
  return sequences.map((sequence) => ({ sequence }) as StateChange);
}

test("every hole is told with its place and its size", () => {
  expect(gaps(at(3, 4, 8, 9, 11))).toEqual([
    { after: 4, missing: 3 },
    { after: 9, missing: 1 },
  ]);
});

test("a journal without holes, an empty one and one record have none", () => {
  expect([gaps(at(1, 2, 3)), gaps([]), gaps(at(7))]).toEqual([[], [], []]);
});
