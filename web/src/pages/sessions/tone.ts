/** How good a session's state is, for its colour. */
import type { SessionItem } from "../../api";
import type { Tone } from "../../parts";

export function toneOfState({ state, reason }: Pick<SessionItem, "state" | "reason">): Tone {
  if (state === "running" || state === "connected") return "ok";
  if (state === "degraded") return "degraded";
  if (state === "ended") return /fail|lost|error|abort/.test(reason) ? "failed" : "plain";
  return "notice";
}
