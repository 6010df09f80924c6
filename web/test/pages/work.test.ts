/** A work session is read without guessing: references, steps with their numbers, and when the signal can be given. */
import { expect, test } from "vitest";
import type { Action, WorkSession } from "../../src/api";
import { buttonOf, ranOf, refOf, stepsOf, toneOfRun, toneOfStep } from "../../src/pages/work/read";

const HEX = "ab12".repeat(16);
const OPEN = { what: "mend the gate", ref: "" };
const MET = { what: "mend the gate", ref: `a.txt#sha256=${HEX}` };

const work = (more: Partial<WorkSession>): WorkSession =>
  ({ id: "r1", state: "waiting", step: "2", steps: 2, past: [], requirements: [], ...more }) as WorkSession;
const action = (more: Partial<Action> = {}): Action =>
  ({
    kind: "continue_work",
    surface: "runtime_work_session",
    aggregateId: "r1",
    role: "operator",
    allowed: true,
    ...more,
  }) as Action;

test("a reference is its path and the first of its digest; what has none is its text", () => {
  expect(refOf(`out/val.json#sha256=${HEX}`)).toEqual({
    path: "out/val.json",
    digest: "ab12ab12ab12",
    whole: `out/val.json#sha256=${HEX}`,
  });
  expect(refOf("out/val.json")).toEqual({ path: "out/val.json", digest: "", whole: "out/val.json" });
  expect(refOf("")).toBeNull();
});

test("steps are counted from the first also where only the newest are told, and the last is where it is now", () => {
  const past = ["4", "5"].map((step) => ({ step, goal: "", status: "PASS", atMs: 1 }));
  expect(stepsOf(work({ past, steps: 5, step: "5" })).map((one) => [one.number, one.current])).toEqual([
    [4, false],
    [5, true],
  ]);
  expect(stepsOf(work({ past, steps: 5, step: "" })).map((one) => one.current)).toEqual([false, false]);
});

test("what became of runs and steps has a tone of its own, and an unknown word has none", () => {
  expect(["PASS", "FAIL", "STOP_GAP", "RUNNING", "?"].map(toneOfStep)).toEqual([
    "ok",
    "failed",
    "degraded",
    "accent",
    "plain",
  ]);
  expect(["ran", "skipped", "failed", "?"].map(toneOfRun)).toEqual(["ok", "degraded", "failed", "plain"]);
  const runs = ["ran", "failed", "ran"].map((status) => ({ name: "", status, outputs: [], notes: "" }));
  expect(ranOf(runs)).toBe("2 ran, 1 failed");
});

test("the signal is offered exactly where the session waits and the caller may", () => {
  expect(buttonOf(work({}), [action()])).toEqual({ action: action(), why: "" });
  expect(buttonOf(work({ requirements: [MET] }), [action()])?.action).not.toBeNull();
  expect(buttonOf(work({}), [action({ allowed: false })])?.why).toContain("operator");
  expect(buttonOf(work({}), [action({ aggregateId: "r2" })])?.action).toBeNull();
  expect(buttonOf(work({}), undefined)).toEqual({ action: null, why: "" });
  expect(buttonOf(work({ state: "failed", requirements: [OPEN, MET] }), [])?.why).toContain("1 requirement ");
  expect(buttonOf(work({ requirements: [OPEN] }), [action()])?.action).toBeNull();
  for (const state of ["running", "done", "blank"]) expect(buttonOf(work({ state }), [action()])).toBeNull();
});
