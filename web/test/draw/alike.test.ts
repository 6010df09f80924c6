/** What is a table and what is not. */
import { describe, expect, it } from "vitest";
import { alike } from "../../src/pages/session/alike";

describe("values that are alike", () => {
  it("are a table with the names that they share, and their own where they have some", () => {
    expect(alike({ stt: { samples: 2, p50_ms: 9.5 }, llm: { samples: 3, p50_ms: null } })).toEqual({
      named: true,
      columns: ["samples", "p50_ms"],
      rows: [
        ["stt", { samples: 2, p50_ms: 9.5 }],
        ["llm", { samples: 3, p50_ms: null }],
      ],
    });
    expect(alike([{ node: "stt" }])?.named).toBe(false);
  });

  it.each([
    [[1, 2]],
    [[{ a: 1 }, null]],
    [[{ a: { b: 1 } }]],
    [[{ a: 1 }, { b: 2 }, { c: 3 }]],
    [{ a: { b: 1 } }],
    [[]],
  ])("are none where they differ or are deeper: %j", (given) => {
    expect(alike(given as never)).toBeNull();
  });
});
