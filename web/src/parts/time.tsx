/** Times are said relative to now, exactly in the title, and one clock makes all of them go on together. */
import { signal } from "@preact/signals";

const TICK_MS = 5_000;

/** Now, in milliseconds of the day's calendar; moves every few seconds while the page is looked at. */
export const nowMs = signal(Date.now());
setInterval(() => {
  if (!document.hidden) nowMs.value = Date.now();
}, TICK_MS);
document.addEventListener("visibilitychange", () => (nowMs.value = Date.now()));

export function RelativeTime({ atMs, bare = false }: { atMs: number; bare?: boolean }) {
  if (atMs <= 0) return <span class="muted">–</span>;
  const said = new Date(atMs);
  const ago = ageOf(nowMs.value - atMs);
  return (
    <time dateTime={said.toISOString()} title={said.toLocaleString()} class="nowrap">
      {bare || ago === "now" ? ago : nowMs.value < atMs - TICK_MS ? `in ${ago}` : `${ago} ago`}
    </time>
  );
}

/** A stretch of time in its greatest unit: "now", "12 s", "4 min", "3 h", "2 d". */
export function ageOf(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1_000);
  if (seconds < 5) return "now";
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3_600) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
