/** How something is, said by colour, shape and word together, since no one of them reaches everybody. */
import type { Level } from "../api";
import { Icon, type IconName } from "./icon";

const LOOKS: Readonly<Record<Level, { word: string; icon: IconName; tone: Tone }>> = {
  OK: { word: "Healthy", icon: "check", tone: "ok" },
  NOTICE: { word: "Notice", icon: "info", tone: "notice" },
  DEGRADED: { word: "Degraded", icon: "warn", tone: "degraded" },
  FAILED: { word: "Failed", icon: "fail", tone: "failed" },
};
const ORDER: readonly Level[] = ["OK", "NOTICE", "DEGRADED", "FAILED"];

export type Tone = "ok" | "notice" | "degraded" | "failed" | "plain" | "accent";

export function LevelBadge({ level, label }: { level: Level; label?: string }) {
  const look = LOOKS[level];
  return (
    <span class={`badge tone-${look.tone}`}>
      <Icon name={look.icon} size={12} />
      {label ?? look.word}
    </span>
  );
}

/** A state in its owner's own word; the tone says how good it is. */
export function StateBadge({ state, tone = "plain" }: { state: string; tone?: Tone }) {
  return <span class={`badge tone-${tone}`}>{state}</span>;
}

export function iconOf(level: Level): IconName {
  return LOOKS[level].icon;
}

export function toneOf(level: Level): Tone {
  return LOOKS[level].tone;
}

export function wordOf(level: Level): string {
  return LOOKS[level].word;
}

/** For sorting: the worse, the greater. */
export function severityOf(level: Level): number {
  return ORDER.indexOf(level);
}
