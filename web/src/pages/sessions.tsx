/** Sessions: the live ones and the recorded ones, filtered by the server, and only the rows in sight drawn. */
import { useEffect, useState } from "preact/hooks";
import { type SessionPage, session, useQuery } from "../api";
import { Answer, count, Empty, Filters, PageHeader, plural, SearchField, Select } from "../parts";
import { link, route, searchFor } from "../router";
import { Rows } from "./sessions/rows";
import { useNames } from "./sessions/names";
import "./sessions/sessions.css";

const PAGE = 100;
const SESSIONS = `query Sessions($tenant: String, $state: String, $pipeline: String, $worker: String, $text: String, $first: Int!, $after: String) {
  sessions(tenant: $tenant, state: $state, pipeline: $pipeline, worker: $worker, text: $text, first: $first, after: $after) {
    items { tenant id state sinceMs openedMs epoch owner region pipeline turns line missing reason recorded } next total
  }
}`;
const STATES = ["connected", "running", "degraded", "ended"];

const FILTERS = ["tenant", "state", "pipeline", "worker", "text"] as const;
const SETTLED_MS = 250; // so long nobody types

const wanted = (name: string): string | null => route.value.search[name] || null;

export default function Sessions() {
  const [before, setBefore] = useState<readonly (string | null)[]>([]);
  const text = useSettled(wanted("text"));
  const after = wanted("after");
  const filters = Object.fromEntries(FILTERS.map((name) => [name, wanted(name)]));
  const asked = useQuery<{ sessions: SessionPage }>(SESSIONS, { ...filters, text, first: PAGE, after }, [
    "sessions",
    "recordings",
  ]);
  const choose = (name: string, value: string): void => {
    setBefore([]);
    searchFor({ [name]: value, after: null });
  };
  const turn = (to: string | null, behind: readonly (string | null)[]): void => {
    setBefore(behind);
    searchFor({ after: to });
  };
  return (
    <div class="stack">
      <PageHeader title="Sessions" sub="Calls that are going on, and those that were recorded." />
      <Chosen page={asked.data?.sessions} choose={choose} />
      <Answer of={asked} what="sessions">
        {({ sessions }) =>
          sessions.items.length === 0 ? (
            <None />
          ) : (
            <>
              <Rows items={sessions.items} first={before.length * PAGE} total={sessions.total} />
              <Pages page={sessions} after={after} before={before} turn={turn} />
            </>
          )
        }
      </Answer>
    </div>
  );
}

function Chosen({
  page,
  choose,
}: {
  page: SessionPage | undefined;
  choose: (name: string, value: string) => void;
}) {
  const names = useNames(wanted("tenant"));
  const tenant = wanted("tenant");
  const tenants = known(
    [...(session.value.me?.tenants ?? []), ...(page?.items ?? []).map((item) => item.tenant)],
    tenant,
  );
  const select = (name: string, label: string, choices: readonly string[]) => (
    <Select
      value={wanted(name) ?? ""}
      onChange={(value) => choose(name, value)}
      label={label}
      choices={choices}
      all="All"
    />
  );
  return (
    <Filters {...(page === undefined ? {} : { said: plural(page.total, "session") })}>
      <SearchField
        value={wanted("text") ?? ""}
        onInput={(value) => choose("text", value)}
        label="Find a session"
        placeholder="Session, tenant, pipeline"
      />
      {select("state", "State", STATES)}
      {(tenants.length > 1 || tenant !== null) && select("tenant", "Tenant", tenants)}
      {select("pipeline", "Pipeline", known(names.pipelines, wanted("pipeline")))}
      {select("worker", "Worker", known(names.workers, wanted("worker")))}
    </Filters>
  );
}

function None() {
  if (FILTERS.some((name) => wanted(name) !== null))
    return <Empty title="No session is like that">Take a filter away to see more.</Empty>;
  return (
    <Empty title="No session yet">
      A call from <a href={link("/talk")}>Talk</a> would be the first.
    </Empty>
  );
}

interface PagesProps {
  page: SessionPage;
  after: string | null;
  /** Where the pages before this one began. */
  before: readonly (string | null)[];
  turn: (to: string | null, before: readonly (string | null)[]) => void;
}

function Pages({ page: { items, next, total }, after, before, turn }: PagesProps) {
  if (next === null && after === null) return null;
  const first = before.length * PAGE;
  return (
    <nav class="pages" aria-label="Pages">
      <button
        type="button"
        class="button"
        disabled={after === null}
        onClick={() => turn(before.at(-1) ?? null, before.slice(0, -1))}
      >
        {before.length > 0 ? "Previous" : "To the first"}
      </button>
      <span class="muted num">
        {count(first + 1)} to {count(first + items.length)} of {count(total)}
      </span>
      <button
        type="button"
        class="button"
        disabled={next === null}
        onClick={() => turn(next, [...before, after])}
      >
        Next
      </button>
    </nav>
  );
}

/** What was typed, once the typing pauses: a search is no search for each letter. */
function useSettled(value: string | null): string | null {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLED_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

/** A filter that came in the address is a choice, even where nobody has heard of it. */
function known(names: readonly string[], chosen: string | null): string[] {
  return [...new Set([...names, ...(chosen ? [chosen] : [])])].sort();
}
