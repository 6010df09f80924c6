/** The ledgers: what ran, what was skipped, what failed, and the files that show it. */
import type { ComponentChildren } from "preact";
import type { WorkOutput, WorkRun, WorkSession } from "../../api";
import { type Column, Copy, DASH, Panel, StateBadge, Table } from "../../parts";
import { ranOf, refOf, toneOfRun } from "./read";

export function Ledgers({ work }: { work: WorkSession }) {
  return (
    <>
      <Runs title="Engines and validators" runs={work.engines} />
      <Runs title="Roles" runs={work.roles} />
      <Ledger title="Outputs" none="No output is named in this step yet.">
        {work.outputs.length > 0 && (
          <Table label="Outputs" columns={OUTPUTS} rows={work.outputs} keyOf={(one) => one.name} />
        )}
      </Ledger>
    </>
  );
}

function Runs({ title, runs }: { title: string; runs: readonly WorkRun[] }) {
  return (
    <Ledger title={title} said={ranOf(runs)} none="None is told of in this step yet.">
      {runs.length > 0 && <Table label={title} columns={RUNS} rows={runs} keyOf={(one) => one.name} />}
    </Ledger>
  );
}

function Ledger({
  title,
  said = "",
  none,
  children,
}: {
  title: string;
  said?: string;
  none: string;
  children: ComponentChildren;
}) {
  return (
    <Panel title={title} side={<span class="muted">{said}</span>} flush={children !== false}>
      {children === false ? <p class="muted">{none}</p> : children}
    </Panel>
  );
}

/** A file with what it was: its path, and the first of its digest. */
export function FileRef({ text }: { text: string }) {
  const ref = refOf(text);
  if (ref === null) return <>{DASH}</>;
  return (
    <span class="ref" title={ref.whole}>
      <span class="ref-path">{ref.path}</span>
      {ref.digest !== "" && (
        <>
          {" "}
          <code>{ref.digest}…</code> <Copy text={ref.whole} />
        </>
      )}
    </span>
  );
}

const RUNS: readonly Column<WorkRun>[] = [
  { key: "name", title: "Name", cell: (one) => <span class="breaks">{one.name}</span>, sort: (one) => one.name },
  {
    key: "status",
    title: "What became of it",
    cell: (one) => <StateBadge state={one.status} tone={toneOfRun(one.status)} />,
    sort: (one) => one.status,
  },
  {
    key: "outputs",
    title: "Made",
    cell: (one) => (
      <span class="breaks">{one.outputs.map((made) => refOf(made)?.path ?? made).join(", ") || DASH}</span>
    ),
    wide: true,
  },
  { key: "notes", title: "Notes", cell: (one) => <span class="breaks">{one.notes || DASH}</span>, wide: true },
];

const OUTPUTS: readonly Column<WorkOutput>[] = [
  { key: "name", title: "Output", cell: (one) => <span class="breaks">{one.name}</span>, sort: (one) => one.name },
  {
    key: "present",
    title: "There",
    cell: (one) => (
      <StateBadge state={one.present ? "present" : "not there"} tone={one.present ? "ok" : "degraded"} />
    ),
    sort: (one) => String(one.present),
  },
  { key: "source", title: "From", cell: (one) => one.source || DASH, wide: true },
  { key: "ref", title: "File", cell: (one) => <FileRef text={one.ref} /> },
];
