/** The steps of a work session in their order, each with how it ended; the one that could come next is there, too. */
import type { WorkSession } from "../../api";
import { Icon, type IconName, RelativeTime } from "../../parts";
import { stepsOf, toneOfStep, wordOfStep } from "./read";

const ICONS: Readonly<Record<string, IconName>> = { PASS: "check", FAIL: "fail", STOP_GAP: "warn", RUNNING: "play" };

export function Steps({ work }: { work: WorkSession }) {
  const steps = stepsOf(work);
  const first = steps[0]?.number ?? 1;
  const next = work.state === "waiting" ? work.nextGoal || "The next step" : "";
  if (steps.length === 0) return <p class="muted">No step was begun yet.</p>;
  return (
    <ol class="steps" start={first} aria-label="Steps">
      {steps.map((one) => (
        <li
          key={`${one.number} ${one.step}`}
          class={`step tone-${toneOfStep(one.status)}`}
          aria-current={one.current ? "step" : undefined}
        >
          <span class="step-mark">
            <Icon name={ICONS[one.status] ?? "right"} size={12} />
          </span>
          <span class="step-text">
            <span class="step-goal">{one.goal || `Step ${one.step}`}</span>
            <span class="muted">
              Step {one.step} · {wordOfStep(one.status)} · <RelativeTime atMs={one.atMs} />
            </span>
          </span>
        </li>
      ))}
      {next !== "" && (
        <li class="step step-next tone-plain">
          <span class="step-mark">
            <Icon name="right" size={12} />
          </span>
          <span class="step-text">
            <span class="step-goal">{next}</span>
            <span class="muted">
              Next{work.nextFile !== "" && <> · {work.nextFile}</>} · waits for the signal
            </span>
          </span>
        </li>
      )}
    </ol>
  );
}
