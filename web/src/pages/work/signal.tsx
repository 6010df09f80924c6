/** The button that lets a work session go on, and why it cannot be pressed where it cannot. */
import type { Action, WorkSession } from "../../api";
import { Note, RelativeTime } from "../../parts";
import { ActionButton } from "../taking";
import { buttonOf } from "./read";

export function SignalButton({
  work,
  actions,
  onDone,
}: {
  work: WorkSession;
  actions: readonly Action[] | undefined;
  onDone: () => void;
}) {
  const button = buttonOf(work, actions);
  const given = work.signal;
  if (button === null) return null;
  return (
    <div class="signal">
      {given !== null && (
        <Note tone="ok">
          <p>
            <strong>The signal was given</strong> by {given.by} <RelativeTime atMs={given.atMs} />
            {given.reason !== "" && <>: {given.reason}</>}.{" "}
            {given.takenAtMs > 0
              ? "It was taken; the next step begins, or it may be given anew."
              : "Whoever begins the next step takes it."}
          </p>
        </Note>
      )}
      <div class="row">
        {button.action === null ? (
          <button type="button" class="button" disabled aria-describedby="signal-why">
            Continue work
          </button>
        ) : (
          <ActionButton action={button.action} onDone={onDone} />
        )}
        {button.why !== "" && (
          <span class="muted" id="signal-why">
            {button.why}
          </span>
        )}
      </div>
    </div>
  );
}
