/**
 * A table that is a table to everybody: real cells, heads that are buttons where they sort, and rows that are opened by the
 * link in their first cell, so that keyboard, screen reader and "open in a new tab" all work.
 */
import { useMemo, useState } from "preact/hooks";
import { go } from "../router";
import { Icon } from "./icon";
import { type Column, inOrder, type Order } from "./order";

interface Props<T> {
  /** What the table holds, for who cannot see its heading. */
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
  /** Where a row leads. */
  href?: (row: T) => string;
  /** Where there is no address to follow: the first cell becomes a button. */
  onOpen?: (row: T) => void;
  /** The key of the column that sorts at first; "-" before it turns it round. Without it, rows stay as given. */
  sorted?: string;
  /** The row that is being looked at elsewhere on the page. */
  chosen?: string | null;
}

export function Table<T>({ label, columns, rows, keyOf, href, onOpen, sorted, chosen }: Props<T>) {
  const [order, setOrder] = useState<Order | null>(
    sorted === undefined ? null : { key: sorted.replace(/^-/, ""), down: sorted.startsWith("-") },
  );
  const shown = useMemo(() => inOrder(rows, columns, order), [rows, columns, order]);
  const turn = (key: string): void =>
    setOrder((old) => ({ key, down: old?.key === key ? !old.down : false }));
  return (
    <div class="table-frame" role="region" aria-label={label} tabIndex={0}>
      <table onKeyDown={moved}>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.key} column={column} order={order} onTurn={() => turn(column.key)} />
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => {
            const address = href?.(row);
            const opens = address !== undefined || onOpen !== undefined;
            const open = (event: MouseEvent): void => {
              if ((event.target as Element).closest("a, button, input") !== null) return;
              if (address !== undefined) go(address);
              else onOpen?.(row);
            };
            return (
              <tr
                key={keyOf(row)}
                class={opens ? "opens" : undefined}
                aria-current={chosen === keyOf(row) ? "true" : undefined}
                onClick={opens ? open : undefined}
              >
                {columns.map((column, index) => (
                  <td key={column.key} class={classOf(column)}>
                    {index > 0 || !opens ? (
                      column.cell(row)
                    ) : address !== undefined ? (
                      <a class="row-link" href={address}>
                        {column.cell(row)}
                      </a>
                    ) : (
                      <button type="button" class="row-link" onClick={() => onOpen?.(row)}>
                        {column.cell(row)}
                      </button>
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Head<T>({ column, order, onTurn }: { column: Column<T>; order: Order | null; onTurn: () => void }) {
  const mine = order?.key === column.key;
  if (column.sort === undefined) {
    return (
      <th scope="col" class={classOf(column)}>
        {column.title}
      </th>
    );
  }
  return (
    <th
      scope="col"
      class={classOf(column)}
      aria-sort={mine ? (order.down ? "descending" : "ascending") : undefined}
    >
      <button type="button" class="head-button" onClick={onTurn}>
        {column.title}
        {mine && <Icon name={order.down ? "down" : "up"} size={12} />}
      </button>
    </th>
  );
}

function classOf<T>(column: Column<T>): string | undefined {
  const names = [column.end === true ? "end" : "", column.wide === true ? "wide" : ""].filter(Boolean);
  return names.length > 0 ? names.join(" ") : undefined;
}

/** Arrow keys go from row to row, from wherever in a row the focus is. */
function moved(event: KeyboardEvent): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const row = (event.target as Element).closest("tbody tr");
  const next = event.key === "ArrowDown" ? row?.nextElementSibling : row?.previousElementSibling;
  const link = next?.querySelector<HTMLElement>(".row-link");
  if (link === null || link === undefined) return;
  event.preventDefault();
  link.focus();
}
