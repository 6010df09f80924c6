/** The figures of a call as the caller's own ears would measure them. */
import { count, duration, plural, Stat } from "../../parts";
import type { Facts as Given } from "../../talk/conversation";

export function Facts({ facts }: { facts: Given }) {
  const { answerMs, silentMs, stopMs, bargeIns, gaps, dropped, reconnects } = facts;
  const losses = [
    gaps && plural(gaps, "gap"),
    dropped && plural(dropped, "frame dropped", "frames dropped"),
    reconnects && plural(reconnects, "reconnection"),
  ].filter(Boolean);
  return (
    <div class="stats" aria-label="Figures of this call" role="group">
      <Stat label="Answer after" value={duration(answerMs)} sub="from your last sound to its first" />
      <Stat label="Silent after" value={duration(silentMs)} sub="from your first sound when you interrupt" />
      <Stat label="Stopped in" value={duration(stopMs)} sub="from the signal to silence" />
      <Stat label="Interruptions" value={count(bargeIns)} sub="answers you took the floor from" />
      <Stat
        label="Sound lost"
        value={count(gaps + dropped)}
        sub={losses.join(", ") || "no gap, no reconnection"}
      />
    </div>
  );
}
