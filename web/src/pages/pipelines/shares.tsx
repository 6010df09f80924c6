/** Which version new sessions get, as shares of a bar and in words. */
import type { JsonMap, Version } from "../../api";
import { DASH, percent, StateBadge } from "../../parts";

export function Shares({ versions }: { versions: readonly Version[] }) {
  const shared = versions.filter((one) => one.share > 0).sort((one, other) => other.share - one.share);
  if (shared.length === 0) return <span class="muted">{DASH}</span>;
  return (
    <span class="shares">
      <span class="shares-bar" aria-hidden="true">
        {shared.map((one, index) => (
          <span
            key={one.version}
            class={`share-${Math.min(index, 2)}`}
            style={{ width: `${one.share * 100}%` }}
          />
        ))}
      </span>
      <span class="shares-words num">
        {shared.map((one) => `${one.version} ${percent(one.share, 0)}`).join(", ")}
      </span>
    </span>
  );
}

/** How a rollout stands; a freeze comes first, since it is what stops the next step. */
export function Rollout({ of: rollout }: { of: JsonMap | null }) {
  if (rollout === null) return <span class="muted">none</span>;
  if (rollout["frozen"] === true) return <StateBadge state="frozen" tone="degraded" />;
  return typeof rollout["canary"] === "string" && rollout["canary"] !== "" ? (
    <StateBadge state={`canary ${rollout["canary"]}`} tone="notice" />
  ) : (
    <StateBadge state="steady" />
  );
}
