/** An address that was written by `link` is read again as the same, whatever stands in it. */
import { expect, test } from "vitest";
import { link, matched, parse } from "../src/address";

test.each([
  ["acme", "s-1"],
  ["a/b", "c?d=e"],
  ["ümlaut #1", "100 %"],
  ["..", "&"],
])("%s and %s survive the way there and back", (tenant, id) => {
  const read = parse(link("/sessions/:tenant/:id", { tenant, id }, { turn: 2, text: "a&b=c" }));
  expect(matched("/sessions/:tenant/:id", read.segments)).toEqual({ tenant, id });
  expect(read.search).toEqual({ turn: "2", text: "a&b=c" });
});

test("what is empty is left out of an address", () => {
  expect(link("/journal", {}, { surface: "", after: null, text: undefined })).toBe("#/journal");
});

test("an address is only another page's if it has its shape", () => {
  const { segments } = parse("#/sessions/acme");
  expect(matched("/sessions/:tenant/:id", segments)).toBeNull();
  expect(matched("/workers", segments)).toBeNull();
  expect(matched("/", parse("").segments)).toEqual({});
});

test("a lone per cent sign that somebody typed breaks nothing", () => {
  expect(parse("#/workers/50%").segments).toEqual(["workers", "50%"]);
});
