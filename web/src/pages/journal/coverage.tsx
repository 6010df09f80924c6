/** Whether the journal tells all: of each surface, what it recorded, what a watch saw, and what the watch alone saw. */
import { type JournalStatus, type SurfaceCoverage, useQuery } from "../../api";
import { Answer, bytes, type Column, count, named, Note, Panel, Stat, StateBadge, Table } from "../../parts";

const STATUS = `query JournalStatus { journalStatus { writable problem records oldest last bytes
  surfaces { surface declared coverage records lastSequence watched uncovered why } } }`;

export function Coverage() {
  const asked = useQuery<{ journalStatus: JournalStatus }>(STATUS, {}, [
    "runtime_health",
    "workers",
    "sessions",
  ]);
  return (
    <Answer of={asked} what="coverage">
      {({ journalStatus }) => <Told status={journalStatus} />}
    </Answer>
  );
}

function Told({ status }: { status: JournalStatus }) {
  const uncovered = status.surfaces.reduce((total, one) => total + one.uncovered, 0);
  return (
    <>
      {!status.writable && (
        <Note tone="failed">
          <p>
            <strong>The journal cannot be written.</strong> {status.problem} Surfaces are watched instead;
            nothing else is affected.
          </p>
        </Note>
      )}
      <div class="stats">
        <Stat
          label="Records"
          value={count(status.records)}
          sub={`${count(status.oldest)} to ${count(status.last)}`}
        />
        <Stat label="Size" value={bytes(status.bytes)} sub="in the store" />
        <Stat
          label="Writing"
          value={status.writable ? "Yes" : "No"}
          sub={status.problem === "" ? "nothing in the way" : status.problem}
        />
        <Stat
          label="Not told by the journal"
          value={count(uncovered)}
          sub={uncovered === 0 ? "no watch saw more" : "changes that only a watch saw"}
        />
      </div>
      <Panel title="Coverage by surface" flush>
        <Table
          label="Coverage by surface"
          columns={COLUMNS}
          rows={status.surfaces}
          keyOf={(one) => one.surface}
          sorted="-uncovered"
        />
      </Panel>
    </>
  );
}

const COLUMNS: readonly Column<SurfaceCoverage>[] = [
  {
    key: "surface",
    title: "Surface",
    cell: (one) => <strong>{named(one.surface)}</strong>,
    sort: (one) => one.surface,
  },
  { key: "coverage", title: "Heard by", cell: (one) => <Heard one={one} />, sort: (one) => one.coverage },
  {
    key: "records",
    title: "Records",
    cell: (one) => count(one.records),
    sort: (one) => one.records,
    end: true,
  },
  {
    key: "last",
    title: "Last",
    cell: (one) => (one.lastSequence > 0 ? one.lastSequence : "–"),
    sort: (one) => one.lastSequence,
    end: true,
    wide: true,
  },
  {
    key: "watched",
    title: "Watched",
    cell: (one) => count(one.watched),
    sort: (one) => one.watched,
    end: true,
    wide: true,
  },
  {
    key: "uncovered",
    title: "Uncovered",
    cell: (one) => <Uncovered one={one} />,
    sort: (one) => one.uncovered,
    end: true,
  },
  { key: "why", title: "Why", cell: (one) => <span class="muted">{one.why}</span>, wide: true },
];

function Heard({ one }: { one: SurfaceCoverage }) {
  const fell = one.coverage !== one.declared;
  return (
    <StateBadge
      state={fell ? `${one.coverage}, not ${one.declared}` : one.coverage}
      tone={fell ? "degraded" : one.coverage === "none" ? "plain" : "ok"}
    />
  );
}

function Uncovered({ one }: { one: SurfaceCoverage }) {
  return one.uncovered > 0 ? (
    <StateBadge state={count(one.uncovered)} tone="degraded" />
  ) : (
    <span class="muted">0</span>
  );
}
