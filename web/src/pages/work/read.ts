/** What a work session's figures mean, said in the words and tones of the page. Nothing here draws. */
import type { Action, WorkRun, WorkSession, WorkStep } from "../../api";
import type { Tone } from "../../parts/level";
import { plural } from "../../parts/words";

const DIGEST = /^(.*)#sha256=([0-9a-f]{64})$/;
const SHORT_CHARACTERS = 12;

export interface Ref {
  path: string;
  /** The first of the digest; the whole of it is in `whole`. */
  digest: string;
  whole: string;
}

/** `PATH#sha256=HEX`, as a person reads it. */
export function refOf(text: string): Ref | null {
  if (text === "") return null;
  const found = DIGEST.exec(text);
  return found === null
    ? { path: text, digest: "", whole: text }
    : { path: found[1] ?? "", digest: (found[2] ?? "").slice(0, SHORT_CHARACTERS), whole: text };
}

export function toneOfStep(status: string): Tone {
  return (
    ({ PASS: "ok", FAIL: "failed", STOP_GAP: "degraded", RUNNING: "accent" } as Record<string, Tone>)[status] ??
    "plain"
  );
}

export function toneOfRun(status: string): Tone {
  return ({ ran: "ok", failed: "failed", skipped: "degraded" } as Record<string, Tone>)[status] ?? "plain";
}

const STEP_WORDS: Readonly<Record<string, string>> = {
  PASS: "Passed",
  FAIL: "Failed",
  STOP_GAP: "Stopped",
  RUNNING: "Running",
};

export function wordOfStep(status: string): string {
  return STEP_WORDS[status] ?? status;
}

export interface Shown extends WorkStep {
  number: number;
  current: boolean;
}

/** The steps so far, the newest last; `number` counts from the first, also where old ones are not told any more. */
export function stepsOf({ past, steps, step }: Pick<WorkSession, "past" | "steps" | "step">): Shown[] {
  const before = Math.max(0, steps - past.length);
  return past.map((one, index) => ({
    ...one,
    number: before + index + 1,
    current: index === past.length - 1 && one.step === step,
  }));
}

/** "3 ran, 1 failed": what became of them, the worst last. */
export function ranOf(runs: readonly WorkRun[]): string {
  return ["ran", "skipped", "failed"]
    .map((status) => [status, runs.filter((run) => run.status === status).length] as const)
    .filter(([, many]) => many > 0)
    .map(([status, many]) => `${many} ${status}`)
    .join(", ");
}

/** What the button needs to be pressed, or why it cannot be; null where no signal is due. */
export interface Button {
  action: Action | null;
  /** Why it is off; empty: it is on. */
  why: string;
}

export function buttonOf(work: WorkSession, actions: readonly Action[] | undefined): Button | null {
  const open = work.requirements.filter((one) => one.ref === "").length;
  if (work.state === "failed" || work.state === "stopped" || (work.state === "waiting" && open > 0))
    return { action: null, why: open > 0 ? `${plural(open, "requirement")} must be met first.` : "It does not wait." };
  if (work.state !== "waiting") return null;
  const action =
    actions?.find(
      (one) =>
        one.kind === "continue_work" && one.surface === "runtime_work_session" && one.aggregateId === work.id,
    ) ?? null;
  if (action === null)
    return { action, why: actions === undefined ? "" : "It is not offered now; look again in a moment." };
  return { action, why: action.allowed ? "" : `This needs the role ${action.role} everywhere.` };
}
