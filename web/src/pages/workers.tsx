/** Every worker: how full it is, whether it takes sessions, and what is offered to be done with it. */
import { type Action, type Row, type RowPage, useQuery } from "../api";
import {
  Answer,
  Bar,
  type Column,
  count,
  Empty,
  Filters,
  LevelBadge,
  PageHeader,
  Panel,
  plural,
  RelativeTime,
  SearchField,
  Select,
  severityOf,
  StateBadge,
  Stat,
  Table,
} from "../parts";
import { link, route, searchFor } from "../router";
import { numberOf, RowDialog, sinceOf, textOf } from "./facts";
import { ACTION_FIELDS, ActionButton } from "./taking";
import { OrderButtons, OrderDialog } from "./workers/orders";

const WORKERS = `query Workers { rows(surface: "workers", first: 500) { total items {
  surface aggregateId tenant state level reason message sinceMs over facts } } }`;
const ACTIONS = `query WorkerActions { actions { ${ACTION_FIELDS} } }`;

export default function Workers() {
  const rows = useQuery<{ rows: RowPage }>(WORKERS, {}, ["workers"]);
  const actions = useQuery<{ actions: Action[] }>(ACTIONS, {}, ["runtime_actions", "runtime_health"]);
  const offered = (actions.data?.actions ?? []).filter((one) => one.surface === "workers");
  return (
    <>
      <PageHeader
        title="Workers"
        sub="The processes of the fleet, what they hold and how much they still take"
      />
      <Answer of={rows} what="workers" lines={6}>
        {(data) => (
          <Fleet rows={data.rows.items} total={data.rows.total} actions={offered} onDone={actions.refetch} />
        )}
      </Answer>
      <OrderDialog />
    </>
  );
}

interface FleetProps {
  rows: Row[];
  total: number;
  actions: Action[];
  onDone: () => void;
}

function Fleet({ rows, total, actions, onDone }: FleetProps) {
  const { text = "", state = "", worker = "" } = route.value.search;
  if (rows.length === 0) {
    return (
      <Panel>
        <Empty title="No worker has joined">
          A worker joins when it starts: <code>rspp serve</code>, or{" "}
          <code>rspp run FILE --listen --control</code>, which is one itself.
        </Empty>
      </Panel>
    );
  }
  const shown = rows.filter(
    (row) =>
      (state === "" || row.state === state) &&
      `${row.aggregateId} ${textOf(row.facts["region"])}`.includes(text),
  );
  const looked = rows.find((row) => row.aggregateId === worker);
  return (
    <>
      <Totals rows={rows} />
      <Filters said={`${shown.length} of ${plural(total, "process", "processes")}`}>
        <SearchField
          label="Find a worker or region"
          value={text}
          onInput={(value) => searchFor({ text: value })}
        />
        <Select
          label="State"
          value={state}
          all="All"
          choices={[...new Set(rows.map((row) => row.state))].sort()}
          onChange={(value) => searchFor({ state: value })}
        />
      </Filters>
      <Panel flush>
        {shown.length === 0 ? (
          <Empty title="No worker fits these filters" />
        ) : (
          <Table
            label="Workers"
            columns={columnsWith(actions, onDone)}
            rows={shown}
            keyOf={(row) => row.aggregateId}
            onOpen={(row) => searchFor({ worker: row.aggregateId })}
            sorted="-level"
            chosen={worker}
          />
        )}
      </Panel>
      {looked !== undefined && (
        <RowDialog row={looked} onClose={() => searchFor({ worker: null })}>
          <p>
            <a href={link("/sessions", {}, { worker })}>Sessions on this worker</a>
          </p>{" "}
          <Offered row={looked} actions={actions} onDone={onDone} wide />
        </RowDialog>
      )}
    </>
  );
}

function Totals({ rows }: { rows: Row[] }) {
  const here = rows.filter((row) => !row.over && isWorker(row));
  const sum = (name: string): number =>
    here.reduce((total, row) => total + (numberOf(row.facts, name) ?? 0), 0);
  const ready = here.filter((row) => row.facts["ready"] === true).length;
  const regions = new Set(here.map((row) => textOf(row.facts["region"]))).size;
  return (
    <div class="stats">
      <Stat label="Ready" value={`${ready} / ${here.length}`} sub={plural(regions, "region")} />
      <Stat label="Sessions held" value={count(sum("sessions"))} sub={`room for ${count(sum("capacity"))}`}>
        <Bar value={sum("sessions")} max={sum("capacity")} label="Capacity in use" />
      </Stat>
      <Stat
        label="Not well"
        value={count(here.filter((row) => row.level !== "OK").length)}
        sub="of those that are here"
      />
    </div>
  );
}

function columnsWith(actions: Action[], onDone: () => void): Column<Row>[] {
  return [
    { key: "id", title: "Worker", cell: (row) => row.aggregateId, sort: (row) => row.aggregateId },
    {
      key: "level",
      title: "State",
      cell: (row) => <State row={row} />,
      sort: (row) => (row.over ? -1 : severityOf(row.level)),
    },
    { key: "load", title: "Sessions", cell: (row) => <Load row={row} />, sort: (row) => share(row) },
    {
      key: "kind",
      title: "Kind",
      cell: (row) => textOf(row.facts["kind"]),
      sort: (row) => textOf(row.facts["kind"]),
      wide: true,
    },
    {
      key: "region",
      title: "Region",
      cell: (row) => textOf(row.facts["region"]),
      sort: (row) => textOf(row.facts["region"]),
      wide: true,
    },
    {
      key: "since",
      title: "Since",
      cell: (row) => <RelativeTime atMs={sinceOf(row)} bare />,
      sort: (row) => -sinceOf(row),
      wide: true,
    },
    {
      key: "actions",
      title: "To do",
      cell: (row) => <Offered row={row} actions={actions} onDone={onDone} />,
      end: true,
      wide: true,
    },
  ];
}

function State({ row }: { row: Row }) {
  if (row.over) return <StateBadge state={row.state} />;
  return (
    <span class="state-cell">
      <LevelBadge level={row.level} label={row.state} />
      {row.message !== "" && <span class="muted wide">{row.message}</span>}
    </span>
  );
}

function Load({ row }: { row: Row }) {
  const [held, room] = [numberOf(row.facts, "sessions"), numberOf(row.facts, "capacity")];
  if (!isWorker(row)) return <span class="muted">holds none</span>;
  if (held === null || room === null) return <span class="muted">not told</span>;
  return <Bar value={held} max={room} label={`Sessions of ${row.aggregateId}`} text={`${held} / ${room}`} />;
}

/** Control planes are members of the fleet, too, and hold no sessions. */
function isWorker(row: Row): boolean {
  return row.facts["kind"] !== "control";
}

function share(row: Row): number | null {
  const [held, room] = [numberOf(row.facts, "sessions"), numberOf(row.facts, "capacity")];
  return held === null || room === null || room === 0 ? null : held / room;
}

interface OfferedProps {
  row: Row;
  actions: Action[];
  onDone: () => void;
  wide?: boolean;
}

function Offered({ row, actions, onDone, wide = false }: OfferedProps) {
  const mine = actions.filter((one) => one.aggregateId === row.aggregateId);
  return (
    <span class="row row-end">
      {mine.map((action) => (
        <ActionButton key={action.id} action={action} onDone={onDone} wide={wide} />
      ))}
      <OrderButtons row={row} offered={mine.map((one) => one.kind)} onDone={onDone} wide={wide} />
    </span>
  );
}
