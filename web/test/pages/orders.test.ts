import { describe, expect, it } from "vitest";
import type { Row } from "../../src/api";
import { ordersFor } from "../../src/pages/workers/order";

const worker = (more: Partial<Row> = {}): Row => ({
  surface: "workers",
  aggregateId: "w-1",
  tenant: null,
  state: "up",
  level: "OK",
  reason: "",
  message: "",
  sinceMs: 0,
  over: false,
  facts: { kind: "worker" },
  ...more,
});

describe("what a worker can be told", () => {
  it("is to empty while it serves, and to serve while it empties", () => {
    expect(ordersFor(worker(), [])).toEqual(["drain", "migrate"]);
    expect(ordersFor(worker({ state: "draining" }), [])).toEqual(["resume"]);
  });

  it("is not said twice where health offers it with its reason", () => {
    expect(ordersFor(worker(), ["drain_worker"])).toEqual(["drain"]);
    expect(ordersFor(worker({ state: "draining" }), ["resume_worker"])).toEqual([]);
  });

  it("is nothing for what is gone, lost or holds no calls", () => {
    expect(ordersFor(worker({ over: true, state: "left" }), [])).toEqual([]);
    expect(ordersFor(worker({ state: "lost" }), [])).toEqual([]);
    expect(ordersFor(worker({ facts: { kind: "control" } }), [])).toEqual([]);
  });
});
