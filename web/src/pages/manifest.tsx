/** What a release or maintenance run really executed: its work sessions, each with how far it came; and one of them whole. */
import { type Row, useQuery } from "../api";
import {
  Answer,
  Bar,
  brief,
  type Column,
  Empty,
  LevelBadge,
  PageHeader,
  Panel,
  RelativeTime,
  severityOf,
  Table,
  toneOf,
} from "../parts";
import { link } from "../router";
import { numberOf, textOf } from "./facts";
import type { PageProps } from "./index";
import { Work } from "./work/one";

const WORK = `query Work { work { surface aggregateId tenant state level reason message sinceMs over facts } }`;

export default function Manifest({ params }: PageProps) {
  const id = params["id"];
  return id === undefined ? <List /> : <Work id={id} />;
}

function List() {
  const asked = useQuery<{ work: Row[] }>(WORK, {}, ["runtime_work_session"]);
  return (
    <div class="stack">
      <PageHeader title="Manifest" sub="The record of what release and maintenance runs really executed" />
      <Answer of={asked} what="work sessions">
        {({ work }) => (
          <Panel flush={work.length > 0}>
            {work.length === 0 ? (
              <Empty title="No work session is on record">
                A release or maintenance run that keeps a manifest appears here, step by step, while it goes on
                and after.
              </Empty>
            ) : (
              <Table
                label="Work sessions"
                columns={COLUMNS}
                rows={work}
                keyOf={(row) => row.aggregateId}
                href={(row) => link("/manifest/:id", { id: row.aggregateId })}
              />
            )}
          </Panel>
        )}
      </Answer>
    </div>
  );
}

const COLUMNS: readonly Column<Row>[] = [
  { key: "id", title: "Work session", cell: (row) => <span title={row.aggregateId}>{brief(row.aggregateId)}</span>, sort: (row) => row.aggregateId },
  {
    key: "level",
    title: "State",
    cell: (row) => <LevelBadge level={row.level} label={row.state} />,
    sort: (row) => severityOf(row.level),
  },
  { key: "steps", title: "Steps", cell: (row) => <Steps row={row} /> },
  { key: "kind", title: "Kind", cell: (row) => textOf(row.facts["kind"]), wide: true },
  { key: "step", title: "At", cell: (row) => textOf(row.facts["step"]), wide: true },
  { key: "goal", title: "Goal", cell: (row) => textOf(row.facts["goal"]), wide: true },
  {
    key: "since",
    title: "Since",
    cell: (row) => <RelativeTime atMs={row.sinceMs} bare />,
    sort: (row) => -row.sinceMs,
    end: true,
    wide: true,
  },
];

function Steps({ row }: { row: Row }) {
  const [done, steps] = [numberOf(row.facts, "steps_done"), numberOf(row.facts, "steps")];
  if (done === null || steps === null) return <span class="muted">not told</span>;
  return (
    <Bar
      value={done}
      max={steps}
      label={`Steps done of ${row.aggregateId}`}
      text={`${done} / ${steps}`}
      tone={toneOf(row.level)}
    />
  );
}
