/** The timeline as a table, filtered and paged by the server: what the drawing says, for whoever does not see it. */
import { useMemo, useState } from "preact/hooks";
import { type TimelinePage, type TimelineRow, useQuery } from "../../api";
import { Answer, type Column, count, DASH, Filters, plural, Select, Table } from "../../parts";
import { clock } from "../../draw/view";

const PAGE = 100;
const ROWS = `query Timeline($tenant: String!, $id: String!, $kind: String, $node: String, $lane: String, $turn: Int, $first: Int!, $after: Int!) {
  session(tenant: $tenant, id: $id) {
    timeline(kind: $kind, node: $node, lane: $lane, turn: $turn, first: $first, after: $after) {
      items { number atMs direction lane node turn kind text count } next total
    }
  }
}`;
const LANES = ["control", "data", "telemetry"];

interface Props {
  tenant: string;
  id: string;
  /** What the filters can be chosen from. */
  rows: readonly TimelineRow[];
  turns: readonly number[];
  onSeek: (ms: number) => void;
}

export function RowsTable(props: Props) {
  const [open, setOpen] = useState(false);
  return (
    <details class="rows" onToggle={(event) => setOpen(event.currentTarget.open)} data-testid="rows">
      <summary>The timeline as a table</summary>
      {open && <Opened {...props} />}
    </details>
  );
}

function Opened({ tenant, id, rows, turns, onSeek }: Props) {
  const [wanted, setWanted] = useState({ kind: "", node: "", lane: "", turn: "" });
  const [pages, setPages] = useState<readonly number[]>([0]);
  const after = pages.at(-1) ?? 0;
  const asked = useQuery<{ session: { timeline: TimelinePage } | null }>(
    ROWS,
    {
      tenant,
      id,
      kind: wanted.kind || null,
      node: wanted.node || null,
      lane: wanted.lane || null,
      turn: wanted.turn === "" ? null : Number(wanted.turn),
      first: PAGE,
      after,
    },
    [`sessions:${id}`, `sessions:${tenant}/${id}`],
  );
  const kinds = useMemo(() => namesOf(rows, (row) => row.kind), [rows]),
    nodes = useMemo(() => namesOf(rows, (row) => row.node), [rows]);
  const choose =
    (name: keyof typeof wanted) =>
    (value: string): void => {
      setPages([0]);
      setWanted({ ...wanted, [name]: value });
    };
  const timeline = asked.data?.session?.timeline;
  return (
    <div class="stack">
      <Filters {...(timeline ? { said: plural(timeline.total, "row") } : {})}>
        <Select label="Lane" value={wanted.lane} onChange={choose("lane")} choices={LANES} all="All" />
        <Select label="Kind" value={wanted.kind} onChange={choose("kind")} choices={kinds} all="All" />
        <Select label="Node" value={wanted.node} onChange={choose("node")} choices={nodes} all="All" />
        <Select
          label="Turn"
          value={wanted.turn}
          onChange={choose("turn")}
          choices={turns.map(String)}
          all="All"
        />
      </Filters>
      <Answer of={asked} what="the rows">
        {({ session }) => (
          <>
            <Table
              label="Rows of the timeline"
              columns={columns(onSeek)}
              rows={session?.timeline.items ?? []}
              keyOf={(row) => String(row.number)}
            />
            <div class="pages">
              <button
                type="button"
                class="button small"
                disabled={pages.length < 2}
                onClick={() => setPages(pages.slice(0, -1))}
              >
                Previous
              </button>
              <span class="muted num">page {count(pages.length)}</span>
              <button
                type="button"
                class="button small"
                disabled={session?.timeline.next == null}
                onClick={() => setPages([...pages, session?.timeline.next ?? 0])}
              >
                Next
              </button>
            </div>
          </>
        )}
      </Answer>
    </div>
  );
}

const namesOf = (rows: readonly TimelineRow[], of: (row: TimelineRow) => string): string[] =>
  [...new Set(rows.map(of).filter(Boolean))].sort();

const columns = (onSeek: (ms: number) => void): Column<TimelineRow>[] => [
  {
    key: "at",
    title: "At",
    cell: (row) => (
      <button type="button" class="said-at num" onClick={() => onSeek(row.atMs)}>
        {clock(row.atMs, 3)}
      </button>
    ),
  },
  { key: "lane", title: "Lane", cell: (row) => row.lane },
  { key: "direction", title: "Way", cell: (row) => row.direction, wide: true },
  { key: "kind", title: "Kind", cell: (row) => <code>{row.kind}</code> },
  { key: "node", title: "Node", cell: (row) => row.node || DASH, wide: true },
  { key: "turn", title: "Turn", cell: (row) => row.turn ?? DASH, end: true },
  {
    key: "text",
    title: "What",
    cell: (row) => (
      <span class="rows-text">
        {row.text}
        {row.count > 1 && <span class="muted"> ({row.count})</span>}
      </span>
    ),
  },
];
