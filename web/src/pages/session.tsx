/** One session, live or recorded: who has it, what was said and heard, where the time went, and what can be proved of it. */
import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type Session as Given, useQuery } from "../api";
import { Answer, Code, Empty, ErrorNote, Loading, Note, PageHeader, Panel, StateBadge } from "../parts";
import { Waterfall } from "../draw/Waterfall";
import { link } from "../router";
import type { PageProps } from "./index";
import { Again } from "./session/again";
import { Evidence, Summary } from "./session/evidence";
import { Head, MyCall } from "./session/head";
import { Plan } from "./session/plan";
import { Said } from "./session/said";
import { useSound } from "./session/sound";
import { Timeline } from "./session/timeline";
import { toneOfState } from "./sessions/tone";
import "./session/session.css";

const ITEM =
  "item { tenant id state sinceMs openedMs epoch owner region pipeline turns line missing reason recorded }";
const HEAD = `query Session($tenant: String!, $id: String!) {
  session(tenant: $tenant, id: $id) {
    ${ITEM} withheld recordedLevel
    transcript { turn speaker text atMs heardMs heard interrupted final }
    turns { number id beganMs endedMs outcome reason stages { name beganMs tookMs } heardAfterMs interruptStopMs trouble }
  }
}`;
const MORE = `query SessionRecord($tenant: String!, $id: String!) {
  session(tenant: $tenant, id: $id) { resolved evidence summary sound { side seconds url peaks } }
}`;

export type HeadGiven = Pick<Given, "item" | "withheld" | "recordedLevel" | "transcript" | "turns">;
export type MoreGiven = Pick<Given, "resolved" | "evidence" | "summary" | "sound">;

export default function Session({ params }: PageProps) {
  const tenant = params["tenant"] ?? "",
    id = params["id"] ?? "";
  const mine = [id, `${tenant}/${id}`];
  const of = (surface: string): string[] => mine.map((one) => `${surface}:${one}`);
  const head = useQuery<{ session: HeadGiven | null }>(HEAD, { tenant, id }, [
    ...of("sessions"),
    ...of("recordings"),
    "turns",
    ...of("evidence_export"),
  ]);
  const there = Boolean(head.data?.session);
  const more = useQuery<{ session: MoreGiven | null }>(
    MORE,
    { tenant, id },
    [...of("sessions"), ...of("recordings")],
    !there,
  );
  const item = head.data?.session?.item;
  useAfterTheEnd(item?.state === "ended", () => {
    head.refetch();
    more.refetch();
  });
  return (
    <div class="stack session" data-testid="session" data-session={id} data-state={item?.state}>
      <PageHeader
        title={<span class="mono session-id">{id}</span>}
        sub={
          <>
            A session of {tenant}. <a href={link("/sessions")}>All sessions</a>
          </>
        }
      >
        {item && <StateBadge state={item.state} tone={toneOfState(item)} />}
      </PageHeader>
      <MyCall id={id} />
      <Answer of={head} what="the session" lines={8}>
        {({ session }) =>
          session === null ? (
            <Empty title="There is no such session here">
              It may have ended without a recording, been deleted by retention, or belong to a tenant that you
              may not see.
            </Empty>
          ) : (
            <>
              <Body head={session} more={more.data?.session ?? null} />
              {more.error !== undefined ? (
                <ErrorNote error={more.error} onRetry={more.refetch} calm />
              ) : (
                more.data === undefined && <Loading what="its record" />
              )}
            </>
          )
        }
      </Answer>
    </div>
  );
}

// A call's record is whole a moment after the call is over.
const LATER_MS: readonly number[] = [2000, 6000, 15000];

/** Looks again a few times after a session that was seen alive has ended. */
function useAfterTheEnd(ended: boolean, look: () => void): void {
  const latest = useRef(look);
  latest.current = look;
  const alive = useRef(false);
  useEffect(() => {
    if (!ended) alive.current = true;
    if (!ended || !alive.current) return undefined;
    const timers = LATER_MS.map((ms) => setTimeout(() => latest.current(), ms));
    return () => timers.forEach(clearTimeout);
  }, [ended]);
}

function Body({ head, more }: { head: HeadGiven; more: MoreGiven | null }) {
  const { item, transcript, turns } = head;
  const sound = useSound(more?.sound ?? []);
  const seek = useMemo(() => signal<number | null>(null), []);
  const goTo = (ms: number): void => {
    seek.value = ms;
  };
  const toTurn = (number: number): void => goTo(turns.find((turn) => turn.number === number)?.beganMs ?? 0);
  return (
    <>
      <Head head={head} resolved={more?.resolved ?? null} />
      {head.withheld !== "" && (
        <Note tone="notice">
          <p data-testid="withheld">{head.withheld}</p>
        </Note>
      )}
      {item.missing.length > 0 && <Note tone="degraded">Missing: {item.missing.join(", ")}.</Note>}
      <Timeline item={item} head={head} sounds={more?.sound ?? []} sound={sound} seek={seek} />
      <div class="columns">
        <Panel title="Transcript">
          <Said lines={transcript} live={item.state !== "ended"} onSeek={goTo} />
        </Panel>
        <Panel title="Where the time went">
          {turns.length === 0 ? <Empty title="No turn yet" /> : <Waterfall turns={turns} onTurn={toTurn} />}
        </Panel>
      </div>
      <Again item={item} />
      {more?.resolved && <Plan resolved={more.resolved} />}
      {more && <Evidence records={more.evidence} />}
      {more?.summary && <Summary summary={more.summary} />}
      <Panel title="On the command line">
        <div class="stack">
          <Code label="Look at it, lanes and waterfall" text={`rspp timeline ${item.id}`} />
          <Code
            label="Run the kernel again on its inputs"
            text={`rspp replay ${item.id} --mode re-simulate`}
          />
          <Code label="Compare it with another one" text={`rspp diff ${item.id} OTHER`} />
        </div>
      </Panel>
    </>
  );
}
