/** Records of the journal, newest first; where numbers are missing between two of them, a line says so. */
import { Fragment } from "preact";
import { useState } from "preact/hooks";
import type { JsonMap, StateChange } from "../../api";
import { Code, Dialog, plural, RelativeTime, StateBadge, type Tone } from "../../parts";
import { addressOf } from "../whereabouts";
import { gaps } from "./gaps";

const TONES: Readonly<Record<string, Tone>> = {
  debug: "plain",
  info: "plain",
  notice: "notice",
  warning: "degraded",
  error: "failed",
  critical: "failed",
};

interface Props {
  records: readonly StateChange[];
  /** All records were asked for, so that a missing number is a gap. */
  whole: boolean;
}

export function Records({ records, whole }: Props) {
  const [looked, setLooked] = useState<StateChange | null>(null);
  const missing = new Map(whole ? gaps(records).map((gap) => [gap.after, gap.missing]) : []);
  return (
    <>
      <div class="table-frame journal-frame" role="region" aria-label="Records of the journal" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">Number</th>
              <th scope="col">When</th>
              <th scope="col">What</th>
              <th scope="col" class="wide">
                Which
              </th>
              <th scope="col" class="wide">
                Told by
              </th>
              <th scope="col" class="wide">
                Weight
              </th>
            </tr>
          </thead>
          <tbody>
            {[...records].reverse().map((record) => (
              <Fragment key={record.sequence}>
                {missing.has(record.sequence) && <Gap missing={missing.get(record.sequence) ?? 0} />}
                <Line record={record} onOpen={() => setLooked(record)} />
              </Fragment>
            ))}
          </tbody>
        </table>
      </div>
      {looked !== null && <Closely record={looked} onClose={() => setLooked(null)} />}
    </>
  );
}

function Line({ record, onOpen }: { record: StateChange; onOpen: () => void }) {
  return (
    <tr class="opens" onClick={onOpen}>
      <td>
        <button type="button" class="row-link num" aria-label={`Record ${record.sequence}`} onClick={onOpen}>
          {record.sequence}
        </button>
      </td>
      <td class="muted">
        <RelativeTime atMs={Date.parse(record.occurredAt)} bare />
      </td>
      <td>
        <span class="muted">{record.surface}</span> {record.changeType}{" "}
        <span class="mono narrow">{record.aggregateId}</span>
      </td>
      <td class="mono wide">{record.aggregateId}</td>
      <td class="muted wide">{record.source}</td>
      <td class="wide nowrap">
        <StateBadge state={record.severity} tone={TONES[record.severity] ?? "plain"} />
        {record.mutatesAuthorityState && <StateBadge state="authority" tone="accent" />}
      </td>
    </tr>
  );
}

/** Compaction keeps the newest record of each thing and takes others away, so that a gap is no fault; it is said all the same. */
function Gap({ missing }: { missing: number }) {
  return (
    <tr class="gap">
      <td colSpan={6}>{plural(missing, "number is", "numbers are")} not here: compacted</td>
    </tr>
  );
}

function Closely({ record, onClose }: { record: StateChange; onClose: () => void }) {
  const facts: [string, string | null][] = [
    ["Happened", record.occurredAt],
    ["Told by", record.source],
    ["Thing", `${record.aggregateType} ${record.aggregateId}`],
    ["Changes with it", record.changedSurfaces.join(", ")],
    ["Read it by", record.snapshotHint],
    ["Event", record.eventId],
    ["Correlation", record.correlationId],
    ["Cause", record.causationId],
    ["Artifact", record.artifactRef],
  ];
  return (
    <Dialog title={`${record.sequence}: ${record.surface} ${record.changeType}`} onClose={onClose}>
      <dl class="facts">
        {facts.map(([name, value]) =>
          value === null || value === "" ? null : (
            <div key={name} class="fact">
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ),
        )}
      </dl>
      {Object.keys(record.metadata).length > 0 && (
        <Code label="Metadata" text={JSON.stringify(record.metadata, null, 2)} />
      )}
      <div class="dialog-buttons">
        <a
          class="button"
          href={addressOf({
            surface: record.surface,
            aggregateId: record.aggregateId,
            tenant: tenantOf(record.metadata),
          })}
          onClick={onClose}
        >
          Look at it
        </a>
        <button type="button" class="button primary" onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function tenantOf(metadata: JsonMap): string | null {
  const tenant = metadata["tenant"];
  return typeof tenant === "string" ? tenant : null;
}
