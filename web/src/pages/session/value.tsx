/** Any value of a record, as lists of names and values, alike ones as a table: nothing is left out, long parts are folded. */
import type { Json, JsonMap } from "../../api";
import { DASH } from "../../parts";
import { alike, type Alike } from "./alike";

const DEPTH_MAX = 8;
const OPEN_MAX = 8; // entries below the first level; longer ones are folded

export function Value({ of, depth = 0 }: { of: Json; depth?: number }) {
  if (of === null || of === "") return <span class="muted">{DASH}</span>;
  if (typeof of !== "object")
    return <span class={typeof of === "string" ? "value-text" : "num"}>{plain(of)}</span>;
  if (depth >= DEPTH_MAX) return <code>{JSON.stringify(of)}</code>;
  const entries = Array.isArray(of)
    ? of.map((one, index) => [String(index + 1), one] as const)
    : Object.entries(of);
  if (entries.length === 0) return <span class="muted">none</span>;
  if (Array.isArray(of) && entries.every(([, one]) => typeof one !== "object" || one === null))
    return <span class="value-text">{of.map(plain).join(", ")}</span>;
  const rows = alike(of);
  if (rows !== null) return <Rows of={rows} />;
  const list = <Names entries={entries} depth={depth} />;
  if (depth === 0 || entries.length <= OPEN_MAX) return list;
  return (
    <details>
      <summary>{entries.length} entries</summary>
      {list}
    </details>
  );
}

function Names({ entries, depth }: { entries: readonly (readonly [string, Json])[]; depth: number }) {
  return (
    <dl class="value">
      {entries.map(([name, one]) => (
        <div key={name}>
          <dt>{spoken(name)}</dt>
          <dd>
            <Value of={one} depth={depth + 1} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Rows({ of: { named, columns, rows } }: { of: Alike }) {
  return (
    <div class="value-table" tabIndex={0} role="region" aria-label={columns.map(spoken).join(", ")}>
      <table>
        <thead>
          <tr>
            {named && (
              <th scope="col">
                <span class="visually-hidden">Of</span>
              </th>
            )}
            {columns.map((name) => (
              <th key={name} scope="col">
                {spoken(name)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, row]) => (
            <tr key={name}>
              {named && <th scope="row">{spoken(name)}</th>}
              {columns.map((column) => (
                <td key={column}>{cell(row, column)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function cell(row: JsonMap, column: string): string {
  const value = row[column];
  return value === undefined || value === null || value === "" ? DASH : plain(value);
}

const spoken = (name: string): string => name.replaceAll("_", " ");

function plain(value: Json): string {
  if (typeof value === "number" && !Number.isInteger(value)) return value.toFixed(3).replace(/\.?0+$/, "");
  return String(value);
}
