/** One look must be enough: is all well, if not why, where, and what to press; below it, how much is going on and how fast. */
import { useEffect, useState } from "preact/hooks";
import {
  type Action,
  type Asked,
  type Health,
  type Level,
  type Load,
  type Reason,
  onSignedOut,
  useQuery,
} from "../api";
import {
  Answer,
  Bar,
  brief,
  count,
  DASH,
  duration,
  Empty,
  Icon,
  iconOf,
  LevelBadge,
  named,
  Note,
  PageHeader,
  Panel,
  plural,
  RelativeTime,
  Sparkline,
  Stat,
  StateBadge,
  toneOf,
  wordOf,
} from "../parts";
import { link } from "../router";
import { ACTION_FIELDS, ActionButton } from "./taking";
import { Latencies } from "./latencies";
import { addressOf } from "./whereabouts";

const HEALTH = `query Overview {
  health { level asOfMs sequence stale
    reasons { surface aggregateId tenant level code message sinceMs }
    surfaces { surface level rows reasons { code } } }
}`;
const ACTIONS = `query OverviewActions { actions { ${ACTION_FIELDS} } }`;
const LOAD = `query OverviewLoad { load { sessions capacity degraded turnsPerMinute workers workersReady
  answer { name p50Ms p95Ms p99Ms count } stages { name p50Ms p95Ms p99Ms count } interruptStopMs { name p50Ms p95Ms p99Ms count } } }`;
const LOAD_SURFACES = ["sessions", "workers", "turns"];
// What is counted by the minute goes down without anything changing.
const LOAD_EVERY_MS = 15_000;

const REASONS_SHOWN = 8;
const ACTIONS_SHOWN = 3;

interface Healthy {
  health: Health;
}
interface Loaded {
  load: Load;
}

export default function Overview() {
  const health = useQuery<Healthy>(HEALTH, {}, ["runtime_health"]);
  const actions = useQuery<{ actions: Action[] }>(ACTIONS, {}, ["runtime_actions", "runtime_health"]);
  const load = useQuery<Loaded>(LOAD, {}, LOAD_SURFACES);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || load.refetch(), LOAD_EVERY_MS);
    return () => clearInterval(timer);
  }, [load.refetch]);
  return (
    <>
      <PageHeader title="Overview" sub="How everything is now, and what can be done about it" />
      <Answer of={health} what="health" lines={3}>
        {(data) => <Verdict health={data.health} actions={actions} />}
      </Answer>
      <Answer of={load} what="load" lines={3}>
        {(data) => <Going load={data.load} />}
      </Answer>
      <div class="columns">
        <Panel title="Latency by stage" flush>
          <Answer of={load} what="latencies">
            {(data) => <Latencies load={data.load} />}
          </Answer>
        </Panel>
        <Panel title="Surfaces" flush>
          <Answer of={health} what="surfaces">
            {(data) => <SurfaceList health={data.health} />}
          </Answer>
        </Panel>
      </div>
    </>
  );
}

function Verdict({ health, actions }: { health: Health; actions: Asked<{ actions: Action[] }> }) {
  const shown = health.reasons.slice(0, REASONS_SHOWN);
  const more = health.reasons.length - shown.length;
  return (
    <>
      {health.stale && (
        <Note tone="degraded">What lies below may be old: this server has lost sight of the store.</Note>
      )}
      <section class={`verdict tone-${toneOf(health.level)}`} aria-label="Overall health">
        <div class="verdict-head">
          <span class="verdict-mark">
            <Icon name={iconOf(health.level)} size={20} />
          </span>
          <div>
            <h2>{sentence(health)}</h2>
            <p class="muted">
              Last change seen <RelativeTime atMs={health.asOfMs} /> · journal at{" "}
              <a href={link("/journal")}>{count(health.sequence)}</a>
            </p>
          </div>
        </div>
        {shown.length > 0 && (
          <div class="verdict-body">
            <ul class="reasons">
              {shown.map((reason) => (
                <Why key={`${reason.surface} ${reason.aggregateId} ${reason.tenant ?? ""}`} reason={reason} />
              ))}
              {more > 0 && <li class="muted">and {plural(more, "more reason")}</li>}
            </ul>
            <Offered actions={actions} />
          </div>
        )}
      </section>
    </>
  );
}

function Why({ reason }: { reason: Reason }) {
  return (
    <li>
      <LevelBadge level={reason.level} />
      <div class="reason-text">
        <a href={addressOf(reason)}>
          <strong title={reason.aggregateId}>{brief(reason.aggregateId)}</strong>
        </a>{" "}
        <span class="muted">
          {named(reason.surface)}
          {reason.tenant !== null && ` of ${reason.tenant}`}
        </span>
        <p>{reason.message || named(reason.code)}</p>
      </div>
      {reason.sinceMs > 0 && (
        <span class="muted reason-since">
          <RelativeTime atMs={reason.sinceMs} bare />
        </span>
      )}
    </li>
  );
}

function sentence(health: Health): string {
  if (health.level === "OK") return "Everything is well";
  const alike = ({ level }: { level: Level }): boolean => level === health.level;
  const things = plural(health.reasons.filter(alike).length, "thing");
  return `${wordOf(health.level)}: ${things} of ${plural(health.surfaces.filter(alike).length, "surface")}`;
}

function Offered({ actions }: { actions: Asked<{ actions: Action[] }> }) {
  const offered = actions.data?.actions ?? [];
  if (offered.length === 0) return null;
  return (
    <div class="offered">
      <h3>What can be done now</h3>
      {offered.every((action) => !action.allowed) && (
        <p class="muted">Your role lets you see these, not take them.</p>
      )}
      <ul>
        {offered.slice(0, ACTIONS_SHOWN).map((action) => (
          <li key={action.id}>
            <ActionButton action={action} onDone={actions.refetch} wide />
          </li>
        ))}
      </ul>
      <a href={link("/actions")}>
        {offered.length > ACTIONS_SHOWN ? `All ${offered.length} actions` : "All about these actions"}
      </a>
    </div>
  );
}

function Going({ load }: { load: Load }) {
  const seen = useSeen(load);
  return (
    <div class="stats">
      <Stat
        label="Live sessions"
        value={count(load.sessions)}
        sub={load.degraded > 0 ? `${count(load.degraded)} degraded` : "none degraded"}
      >
        <Sparkline
          values={seen.map((one) => one.sessions)}
          label={`Live sessions since this page was opened, now ${load.sessions}`}
        />
      </Stat>
      <Stat
        label="Capacity"
        value={load.capacity > 0 ? `${Math.round((100 * load.sessions) / load.capacity)} %` : DASH}
        sub={`${count(load.sessions)} of ${count(load.capacity)}`}
      >
        <Bar value={load.sessions} max={load.capacity} label="Capacity in use" />
      </Stat>
      <Stat label="Turns a minute" value={count(Math.round(load.turnsPerMinute))} sub="over the last minute">
        <Sparkline
          values={seen.map((one) => one.turnsPerMinute)}
          label={`Turns a minute since this page was opened, now ${Math.round(load.turnsPerMinute)}`}
        />
      </Stat>
      <Stat
        label="Answer heard after"
        value={duration(load.answer.p50Ms)}
        sub={`p95 ${duration(load.answer.p95Ms)}`}
      >
        <Sparkline
          values={seen.map((one) => one.answer.p50Ms)}
          label={`Median time to an answer since this page was opened, now ${duration(load.answer.p50Ms)}`}
        />
      </Stat>
      <Stat
        label="Barge-in to silence"
        value={duration(load.interruptStopMs.p50Ms)}
        sub={`p95 ${duration(load.interruptStopMs.p95Ms)}`}
      />
      <Stat
        label="Workers ready"
        value={`${load.workersReady} / ${load.workers}`}
        sub={<a href={link("/workers")}>See workers</a>}
      />
    </div>
  );
}

const SEEN_MAX = 120;

// What this tab has seen, across visits of the page. bounded: SEEN_MAX, the oldest goes
let seenBefore: readonly Load[] = [];
onSignedOut(() => (seenBefore = []));

/** The figures that this tab has been told, oldest first: the server keeps none for it. */
function useSeen(load: Load): readonly Load[] {
  const [seen, setSeen] = useState(seenBefore);
  useEffect(() => {
    if (seenBefore.at(-1) === load) return;
    seenBefore = [...seenBefore, load].slice(-SEEN_MAX);
    setSeen(seenBefore);
  }, [load]);
  return seen;
}

function SurfaceList({ health }: { health: Health }) {
  if (health.surfaces.length === 0)
    return <Empty title="No surface counts towards health">This server has declared none.</Empty>;
  return (
    <ul class="lines">
      {health.surfaces.map((one) => (
        <li key={one.surface}>
          <a href={link("/journal", {}, { surface: one.surface })}>{named(one.surface)}</a>
          <span class="muted num">{plural(one.rows, "row")}</span>
          {one.level === "OK" ? (
            <StateBadge state="Healthy" tone="ok" />
          ) : (
            <LevelBadge level={one.level} label={`${wordOf(one.level)} · ${one.reasons.length}`} />
          )}
        </li>
      ))}
    </ul>
  );
}
