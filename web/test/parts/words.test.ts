/** Figures are said alike everywhere; what is not known is a dash, never a zero. */
import { expect, test } from "vitest";
import { brief, bytes, count, duration, named, percent, plural } from "../../src/parts/words";

test("durations keep three figures at most", () => {
  expect([0.4, 9.96, 38, 999, 1_240, 9_999, 45_600, 300_000].map(duration)).toEqual([
    "0.4 ms",
    "10 ms",
    "38 ms",
    "999 ms",
    "1.24 s",
    "10.00 s",
    "45.6 s",
    "5 min",
  ]);
});

test("what is not known is a dash", () => {
  expect([duration(null), count(undefined), bytes(null), percent(null)]).toEqual(["–", "–", "–", "–"]);
  expect([count(0), percent(0)]).toEqual(["0", "0 %"]);
});

test("sizes, shares, names and numbers of things read as people write them", () => {
  expect([bytes(1_023), bytes(1_536), bytes(20 * 1024 ** 3)]).toEqual(["1023 B", "1.5 KiB", "20 GiB"]);
  expect([percent(0.9994, 2), percent(1)]).toEqual(["99.94 %", "100 %"]);
  expect([named("provider_health"), named("")]).toEqual(["Provider health", "–"]);
  expect([plural(1, "row"), plural(1_200, "row"), plural(2, "is", "are")]).toEqual([
    "1 row",
    "1,200 rows",
    "2 are",
  ]);
});

test("a long name is told by how it begins, a short one whole", () => {
  expect(brief("4d3a6802d0596ea0b91a122c6f4d81e5-b6d2e904393e")).toBe("4d3a6802d059…");
  expect(brief("vm-w0-48e9ad494ab9")).toBe("vm-w0-48e9ad494ab9");
});
