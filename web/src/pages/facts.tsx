/** What a row holds, as it is: every fact by its own name, so that nothing is hidden because no page knows it. */
import type { Json, JsonMap, Row } from "../api";
import { bytes, DASH, Dialog, duration, LevelBadge, named, Note, RelativeTime, StateBadge } from "../parts";
import type { ComponentChildren } from "preact";

export function textOf(value: Json | undefined): string {
  if (value === null || value === undefined || value === "") return DASH;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number")
    return Number.isInteger(value) ? value.toLocaleString("en") : String(Math.round(value * 1_000) / 1_000);
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function numberOf(facts: JsonMap, name: string): number | null {
  const value = facts[name];
  return typeof value === "number" ? value : null;
}

// No stretch of time is as long as the calendar: such a number is a moment.
const MOMENT_MS_MIN = 1e11;

export function Facts({ facts }: { facts: JsonMap }) {
  return (
    <dl class="facts">
      {Object.entries(facts).map(([name, value]) => (
        <div key={name} class="fact">
          <dt>{named(name.replace(/_ms$/, "").replace(".", " "))}</dt>
          <dd>
            <Fact name={name} value={value} />
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Fact({ name, value }: { name: string; value: Json }) {
  if (typeof value !== "number" || !/_(ms|bytes|bytes_max)$/.test(name)) return <>{textOf(value)}</>;
  if (!name.endsWith("_ms")) return <>{bytes(value)}</>;
  return value > MOMENT_MS_MIN ? <RelativeTime atMs={value} /> : <>{duration(value)}</>;
}

/** Since when a row is as it is, or else since when it is there at all; 0: nobody knows. */
export function sinceOf(row: Row): number {
  return row.sinceMs > 0 ? row.sinceMs : (numberOf(row.facts, "joined_ms") ?? 0);
}

/** One row, looked at closely; `children` are what can be done with it. */
export function RowDialog({
  row,
  onClose,
  children,
}: {
  row: Row;
  onClose: () => void;
  children?: ComponentChildren;
}) {
  return (
    <Dialog title={row.aggregateId} onClose={onClose}>
      <p class="row">
        <LevelBadge level={row.level} />
        <StateBadge state={row.state} />
        {sinceOf(row) > 0 && (
          <span class="muted">
            since <RelativeTime atMs={sinceOf(row)} />
          </span>
        )}
      </p>
      {row.level !== "OK" && (
        <Note tone={row.level === "FAILED" ? "failed" : row.level === "DEGRADED" ? "degraded" : "notice"}>
          <p>
            {row.message || named(row.reason)} <code>{row.reason}</code>
          </p>
        </Note>
      )}
      <Facts facts={row.facts} />
      {children}
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
