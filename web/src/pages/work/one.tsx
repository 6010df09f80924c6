/** One work session: where it stands and why, what proves it, what it needs, and the signal that lets it go on. */
import { type Action, type Level, useQuery, type WorkSession } from "../../api";
import {
  Answer,
  Copy,
  DASH,
  Empty,
  LevelBadge,
  named,
  Note,
  PageHeader,
  Panel,
  plural,
  RelativeTime,
} from "../../parts";
import { link } from "../../router";
import { textOf } from "../facts";
import { ACTION_FIELDS } from "../taking";
import { Ledgers } from "./ledgers";
import { Fact, LastResult, Missing, Requirements } from "./lists";
import { SignalButton } from "./signal";
import { Steps } from "./steps";
import "./work.css";

const WORK = `query WorkSession($id: String!) { workSession(id: $id) {
  id state kind step goal reason author folder sinceMs updatedAtMs line trace steps stepsDone routing
  past { step goal status atMs }
  roles { name status outputs notes } engines { name status outputs notes } outputs { name present source ref }
  missing { code what fix } requirements { what ref } resumeAllowed nextFile nextGoal
  result { status code reasons fixes report pack } cut signal { by reason atMs takenAtMs } } }`;
const ACTIONS = `query WorkActions { actions { ${ACTION_FIELDS} } }`;
const LEVELS: Readonly<Record<string, Level>> = {
  waiting: "NOTICE",
  stopped: "DEGRADED",
  failed: "DEGRADED",
};
const DIGEST_CHARACTERS = 12;

export function Work({ id }: { id: string }) {
  const asked = useQuery<{ workSession: WorkSession | null }>(WORK, { id }, [`runtime_work_session:${id}`]);
  // The state engine may hear of a change a moment after the store has it: actions are asked for by its own word.
  const offered = useQuery<{ actions: Action[] }>(ACTIONS, {}, [
    "runtime_actions",
    `runtime_work_session:${id}`,
  ]);
  const again = (): void => {
    asked.refetch();
    offered.refetch();
  };
  return (
    <div class="stack">
      <PageHeader title={<span class="breaks">{id}</span>} sub={<a href={link("/manifest")}>All work sessions</a>} />
      <Answer of={asked} what="the work session" lines={8}>
        {({ workSession: work }) =>
          work === null ? (
            <Panel>
              <Empty title="There is no such work session">
                It was never told here, or is forgotten: what is done is kept for a month.
              </Empty>
            </Panel>
          ) : (
            <Shown work={work} actions={offered.data?.actions} onDone={again} />
          )
        }
      </Answer>
    </div>
  );
}

function Shown({
  work,
  actions,
  onDone,
}: {
  work: WorkSession;
  actions: readonly Action[] | undefined;
  onDone: () => void;
}) {
  return (
    <>
      <div class="columns">
        <Panel title="Where it stands" side={<LevelBadge level={LEVELS[work.state] ?? "OK"} label={work.state} />}>
          <div class="work-standing">
            <div>
              <p class="work-goal">{work.goal || "No step was begun yet"}</p>
              <p class="muted">
                {work.step !== "" && <>Step {work.step}, </>}
                {work.state} <RelativeTime atMs={work.sinceMs} />, by {work.author || DASH}
              </p>
            </div>
            {work.reason !== "" && work.state !== "running" && (
              <Note tone={work.state === "waiting" || work.state === "done" ? "notice" : "degraded"}>
                <p>{work.state === "waiting" ? `It waits for ${work.reason}.` : work.reason}</p>
              </Note>
            )}
            <SignalButton work={work} actions={actions} onDone={onDone} />
            <About work={work} />
          </div>
        </Panel>
        <Panel title="Steps" side={<span class="muted">{work.stepsDone} of {plural(work.steps, "step")} passed</span>}>
          <Steps work={work} />
        </Panel>
      </div>
      <Requirements work={work} />
      <Missing work={work} />
      <LastResult work={work} />
      <Ledgers work={work} />
      <Routing work={work} />
      {work.cut.length > 0 && (
        <Note>
          <p>This is too long to be told whole; the file has all of it. Left out: {work.cut.join(", ")}.</p>
        </Note>
      )}
    </>
  );
}

function About({ work }: { work: WorkSession }) {
  const pipe = work.kind;
  return (
    <dl class="facts">
      {pipe !== "" && <Fact name="Kind">{pipe}</Fact>}
      <Fact name="Folder">{work.folder || DASH}</Fact>
      <Fact name="Told">
        <RelativeTime atMs={work.updatedAtMs} />
      </Fact>
      <Fact name="Trace">
        line {work.line}
        {work.trace !== "" && (
          <>
            {" "}
            <code title={work.trace}>{work.trace.slice(0, DIGEST_CHARACTERS)}…</code> <Copy text={work.trace} />
          </>
        )}
      </Fact>
    </dl>
  );
}

/** What the step must do and must not touch, as far as it says so. */
function Routing({ work }: { work: WorkSession }) {
  const said = Object.entries(work.routing).filter(
    ([, value]) => value !== "" && !(Array.isArray(value) && value.length === 0),
  );
  if (said.length === 0) return null;
  return (
    <Panel title="Routing">
      <dl class="facts">
        {said.map(([name, value]) => (
          <Fact key={name} name={named(name.toLowerCase())}>
            {Array.isArray(value) ? value.map(textOf).join(", ") : textOf(value)}
          </Fact>
        ))}
      </dl>
    </Panel>
  );
}
