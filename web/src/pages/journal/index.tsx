/** What has changed, as it changes, and whether the journal can be believed: nothing missing, nothing that it did not hear of. */
import { useState } from "preact/hooks";
import { session, type SurfaceDeclared, useQuery } from "../../api";
import {
  count,
  Empty,
  ErrorNote,
  Filters,
  Icon,
  Loading,
  named,
  Note,
  PageHeader,
  Panel,
  plural,
  Select,
} from "../../parts";
import { route, searchFor } from "../../router";
import { Coverage } from "./coverage";
import { Records } from "./records";
import { RECORDS_MAX, type Tail, useTail } from "./tail";

const SURFACES = `query Surfaces { surfaces { name summary coverage } }`;

export default function Journal() {
  const { surface = "" } = route.value.search;
  const [held, setHeld] = useState(false);
  const following = useTail(surface, held);
  const surfaces = useQuery<{ surfaces: Pick<SurfaceDeclared, "name" | "summary" | "coverage">[] }>(
    SURFACES,
    {},
    [],
  );
  const declared = surfaces.data?.surfaces ?? [];
  const { tail, error, older, again } = following;
  const summary = declared.find((one) => one.name === surface)?.summary;
  const choices = [
    ...new Set([...declared.map((one) => one.name), ...(surface === "" ? [] : [surface])]),
  ].sort();
  return (
    <>
      <PageHeader
        title="Journal"
        sub="What changed, in order. It says that something changed; what is true now, the thing itself says."
      >
        <button type="button" class="button" aria-pressed={held} onClick={() => setHeld(!held)}>
          <Icon name={held ? "play" : "pause"} size={14} />
          {held ? "Follow" : "Hold"}
        </button>
      </PageHeader>
      <Filters
        said={tail === null ? "" : `${plural(tail.records.length, "record")}, journal at ${count(tail.last)}`}
      >
        <Select
          label="Surface"
          value={surface}
          all="All"
          choices={choices.map((one) => ({ value: one, title: named(one) }))}
          onChange={(value) => searchFor({ surface: value })}
        />
        {summary !== undefined && <span class="muted">{summary}</span>}
      </Filters>
      {error !== null && <ErrorNote error={error} onRetry={again} calm={tail !== null} />}
      {tail?.compacted === true && (
        <Note tone="degraded">
          <p>
            Records before {count(tail.oldest)} are not in the journal any more: it was compacted, or begun
            anew. What changed meanwhile is seen in the things themselves.
          </p>
        </Note>
      )}
      <Panel title="Records" side={held && <span class="muted">held; new records wait</span>} flush>
        {tail !== null ? (
          <Shown tail={tail} surface={surface} older={older} />
        ) : (
          error === null && <Loading what="records" lines={8} />
        )}
      </Panel>
      {session.value.me?.everywhere === true && <Coverage />}
    </>
  );
}

function Shown({ tail, surface, older }: { tail: Tail; surface: string; older: () => void }) {
  const more = tail.from >= tail.oldest && <Older older={older} tail={tail} />;
  if (tail.records.length === 0) {
    const nothing = `Nothing of ${named(surface).toLowerCase()} in what was looked through`;
    return (
      <Empty title={surface === "" ? "Nothing has changed yet" : nothing}>
        {more || "Records appear here as soon as something changes."}
      </Empty>
    );
  }
  return (
    <>
      <Records records={tail.records} whole={surface === "" && session.value.me?.everywhere === true} />
      {more}
    </>
  );
}

function Older({ older, tail }: { older: () => void; tail: Tail }) {
  const full = tail.records.length >= RECORDS_MAX;
  return (
    <p class="older">
      {!full && (
        <button type="button" class="button small" onClick={older}>
          Look further back
        </button>
      )}
      <span class="muted num">
        {full && `The newest ${count(RECORDS_MAX)} are shown. `}
        Looked through from {count(tail.from + 1)}; the journal begins at {count(tail.oldest)}.
      </span>
    </p>
  );
}
