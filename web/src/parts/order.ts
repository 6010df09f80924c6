/** The columns of a table and the order that they give its rows: stable, and never of the rows that were given. */
import type { ComponentChildren } from "preact";

export interface Column<T> {
  key: string;
  title: string;
  cell: (row: T) => ComponentChildren;
  /** What it is sorted by; a column without cannot be sorted. Null comes last, either way. */
  sort?: (row: T) => string | number | null;
  end?: boolean;
  /** Left out where the page is narrow. */
  wide?: boolean;
}

export interface Order {
  key: string;
  down: boolean;
}

export function inOrder<T>(
  rows: readonly T[],
  columns: readonly Column<T>[],
  order: Order | null,
): readonly T[] {
  const by = columns.find((column) => column.key === order?.key)?.sort;
  if (order === null || by === undefined) return rows;
  const side = order.down ? -1 : 1;
  return [...rows].sort((left, right) => {
    const [a, b] = [by(left), by(right)];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return (
      side *
      (typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), "en", { numeric: true }))
    );
  });
}
