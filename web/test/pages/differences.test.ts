/** A comparison is read by its causes; everything that was told is there once, whatever follows from what. */
import { expect, test } from "vitest";
import { causesOf } from "../../src/pages/session/differences";

const one = (number: number, root: number | null, more = {}) => ({
  number,
  root,
  message: `m${number}`,
  ...more,
});

test("what follows stands below its cause, and what has a cause that was not told stands for itself", () => {
  const causes = causesOf([one(1, null), one(2, 1), one(3, 1), one(4, null), one(5, 99), one(6, 5)]);
  expect(causes.map((cause) => [cause.number, cause.follows.map((other) => other.number)])).toEqual([
    [1, [2, 3]],
    [4, []],
    [5, [6]],
  ]);
});

test("both sides are said: the event's line, and the value that differs where the line does not say it", () => {
  const [cause] = causesOf([
    one(1, null, {
      class: "PLAN_DIVERGENCE",
      scope: "turn:s-1/turn-2",
      expected: 7,
      expected_position: { line: "  2.0 s  record plan " },
      got: "  3.0 s  record plan",
      got_position: { line: "  3.0 s  record plan" },
    }),
  ]);
  expect(cause).toMatchObject({
    kind: "plan",
    where: "turn-2",
    here: { line: "2.0 s  record plan", value: "7" },
    there: { line: "3.0 s  record plan", value: "" },
  });
});
