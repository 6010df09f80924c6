/** A table sorts numbers as numbers and names as people do, and what is not known comes last either way. */
import { expect, test } from "vitest";
import { type Column, inOrder } from "../../src/parts/order";

interface Thing {
  name: string;
  load: number | null;
}
const COLUMNS: readonly Column<Thing>[] = [
  { key: "name", title: "Name", cell: () => null, sort: (row) => row.name },
  { key: "load", title: "Load", cell: () => null, sort: (row) => row.load },
  { key: "note", title: "Note", cell: () => null },
];
const ROWS: readonly Thing[] = [
  { name: "w-10", load: 2 },
  { name: "w-9", load: null },
  { name: "w-1", load: 10 },
];

function names(key: string, down: boolean): string[] {
  return inOrder(ROWS, COLUMNS, { key, down }).map((row) => row.name);
}

test("numbers in names count as numbers", () => {
  expect(names("name", false)).toEqual(["w-1", "w-9", "w-10"]);
  expect(names("name", true)).toEqual(["w-10", "w-9", "w-1"]);
});

test("what is not known comes last, up and down", () => {
  expect(names("load", false)).toEqual(["w-10", "w-1", "w-9"]);
  expect(names("load", true)).toEqual(["w-1", "w-10", "w-9"]);
});

test("a column that cannot be sorted leaves the rows as given, and the given rows are never changed", () => {
  expect(inOrder(ROWS, COLUMNS, { key: "note", down: false })).toBe(ROWS);
  names("name", false);
  expect(ROWS.map((row) => row.name)).toEqual(["w-10", "w-9", "w-1"]);
});
