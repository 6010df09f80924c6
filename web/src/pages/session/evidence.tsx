/** The records that a session leaves as proof, one a turn, whole; and what it came to. */
import type { JsonMap } from "../../api";
import { Empty, Panel } from "../../parts";
import { Value } from "./value";

export function Evidence({ records }: { records: readonly JsonMap[] }) {
  return (
    <Panel title="Evidence">
      {records.length === 0 ? (
        <Empty title="No evidence">A turn leaves its record when it ends.</Empty>
      ) : (
        <div class="evidence">
          {records.map((record, index) => (
            <details key={index} class="folded" data-testid="evidence">
              <summary>{titleOf(record, index)}</summary>
              <Value of={record} />
            </details>
          ))}
        </div>
      )}
    </Panel>
  );
}

function titleOf(record: JsonMap, index: number): string {
  const turn = String(record["turn_id"] ?? record["turn"] ?? index + 1)
    .split("/")
    .at(-1);
  const end = record["terminal"] ?? record["outcome"] ?? record["terminal_outcome"];
  return `${turn}${typeof end === "string" ? `: ${end}` : ""}`;
}

export function Summary({ summary }: { summary: JsonMap }) {
  return (
    <Panel title="What it came to">
      <Value of={summary} />
    </Panel>
  );
}
