/** What a release or maintenance run really executed: its work sessions, each with how far it came and what stopped it. */
import { type Action, type Row, useQuery } from "../api";
import {
  Answer,
  Bar,
  type Column,
  Empty,
  LevelBadge,
  PageHeader,
  Panel,
  RelativeTime,
  severityOf,
  Table,
} from "../parts";
import { route, searchFor } from "../router";
import { numberOf, RowDialog, textOf } from "./facts";
import { ACTION_FIELDS, ActionButton } from "./taking";

const WORK = `query Work { work { surface aggregateId tenant state level reason message sinceMs over facts } }`;
const ACTIONS = `query WorkActions { actions { ${ACTION_FIELDS} } }`;

export default function Manifest() {
  const asked = useQuery<{ work: Row[] }>(WORK, {}, ["runtime_work_session"]);
  return (
    <>
      <PageHeader title="Manifest" sub="The record of what release and maintenance runs really executed" />
      <Answer of={asked} what="work sessions">
        {({ work }) => <Sessions work={work} />}
      </Answer>
    </>
  );
}

function Sessions({ work }: { work: Row[] }) {
  const looked = work.find((row) => row.aggregateId === route.value.search["work"]);
  if (work.length === 0) {
    return (
      <Panel>
        <Empty title="No work session is on record">
          A release or maintenance run that keeps a manifest appears here, step by step, while it goes on and
          after.
        </Empty>
      </Panel>
    );
  }
  return (
    <>
      <Panel flush>
        <Table
          label="Work sessions"
          columns={COLUMNS}
          rows={work}
          keyOf={(row) => row.aggregateId}
          onOpen={(row) => searchFor({ work: row.aggregateId })}
        />
      </Panel>
      {looked !== undefined && (
        <RowDialog row={looked} onClose={() => searchFor({ work: null })}>
          <Offered row={looked} />
        </RowDialog>
      )}
    </>
  );
}

function Offered({ row }: { row: Row }) {
  const actions = useQuery<{ actions: Action[] }>(ACTIONS, {}, ["runtime_actions"]);
  const mine = (actions.data?.actions ?? []).filter(
    (one) => one.surface === row.surface && one.aggregateId === row.aggregateId,
  );
  return (
    <>
      {mine.map((action) => (
        <ActionButton key={action.id} action={action} onDone={actions.refetch} wide />
      ))}
    </>
  );
}

const COLUMNS: readonly Column<Row>[] = [
  { key: "id", title: "Work session", cell: (row) => row.aggregateId, sort: (row) => row.aggregateId },
  {
    key: "level",
    title: "State",
    cell: (row) => <LevelBadge level={row.level} label={row.state} />,
    sort: (row) => severityOf(row.level),
  },
  { key: "steps", title: "Steps", cell: (row) => <Steps row={row} /> },
  { key: "kind", title: "Kind", cell: (row) => textOf(row.facts["kind"]), wide: true },
  { key: "step", title: "At", cell: (row) => textOf(row.facts["step"]), wide: true },
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
  const tone = row.level === "OK" ? "ok" : "degraded";
  return (
    <Bar
      value={done}
      max={steps}
      label={`Steps done of ${row.aggregateId}`}
      text={`${done} / ${steps}`}
      tone={tone}
    />
  );
}
