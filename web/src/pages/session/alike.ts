/** Several things of the same kind are a table: those with the same names, and nothing below them. */
import type { Json, JsonMap } from "../../api";

export interface Alike {
  /** Do the rows have names of their own? */
  named: boolean;
  columns: string[];
  rows: [string, JsonMap][];
}

const COLUMNS_MAX = 12;

/** The table that these are, or null where they are none: too few, of different kinds, or deeper than that. */
export function alike(of: Json[] | JsonMap): Alike | null {
  const entries = Array.isArray(of)
    ? of.map((one, index): [string, Json] => [String(index + 1), one])
    : Object.entries(of);
  if (entries.length < 2 && !Array.isArray(of)) return null;
  const rows: [string, JsonMap][] = [];
  for (const [name, one] of entries) {
    if (one === null || typeof one !== "object" || Array.isArray(one)) return null;
    if (Object.values(one).some((value) => typeof value === "object" && value !== null)) return null;
    rows.push([name, one]);
  }
  const columns = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
  if (!columns.length || columns.length > COLUMNS_MAX) return null;
  const common = columns.filter((column) => rows.every(([, row]) => column in row));
  if (common.length * 2 < columns.length) return null;
  return { named: !Array.isArray(of), columns, rows };
}
