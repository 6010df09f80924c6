/** What a page says when it has nothing to show: why, and what can be done; never an empty space. */
import type { ComponentChildren } from "preact";
import type { ApiError, Asked } from "../api";
import { Icon } from "./icon";

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children !== undefined && <div class="muted">{children}</div>}
    </div>
  );
}

/** A failure, as the server tells it. A refusal is no failure: it looks calmer and offers no second try. */
export function ErrorNote({
  error,
  onRetry,
  calm = false,
}: {
  error: ApiError;
  onRetry?: () => void;
  calm?: boolean;
}) {
  const tone = error.refused ? "notice" : calm ? "degraded" : "failed";
  return (
    <div class={`note tone-${tone}`} role={error.refused || calm ? "status" : "alert"}>
      <Icon name={error.refused ? "info" : "warn"} />
      <div class="note-text">
        <p>
          <strong>{error.refused ? "You may not see or do this" : error.message}</strong>{" "}
          <code>{error.code}</code>
        </p>
        {error.refused && <p>{error.message}</p>}
        {error.remedy !== "" && <p class="muted">{error.remedy}</p>}
      </div>
      {onRetry !== undefined && !error.refused && (
        <button type="button" class="button small" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** A sentence in a box, for what is known and is no failure of a request. */
export function Note({
  tone = "notice",
  children,
}: {
  tone?: "ok" | "notice" | "degraded" | "failed";
  children: ComponentChildren;
}) {
  const icon = tone === "ok" ? "check" : tone === "notice" ? "info" : "warn";
  return (
    <div class={`note tone-${tone}`}>
      <Icon name={icon} />
      <div class="note-text">{children}</div>
    </div>
  );
}

/** Grey bars where lines will be; said aloud once. */
export function Loading({ lines = 4, what = "" }: { lines?: number; what?: string }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading{what === "" ? "" : ` ${what}`}</span>
      {Array.from({ length: lines }, (_, index) => (
        <div key={index} class="loading-line" />
      ))}
    </div>
  );
}

/** A query's four ends: nothing yet, refused or failed, old data with a failure above it, and data. */
export function Answer<T>({
  of,
  what,
  lines,
  children,
}: {
  of: Asked<T>;
  what: string;
  lines?: number;
  children: (data: T) => ComponentChildren;
}) {
  const note = of.error !== undefined && (
    <ErrorNote error={of.error} onRetry={of.refetch} calm={of.data !== undefined} />
  );
  if (of.data === undefined)
    return note || <Loading what={what} {...(lines === undefined ? {} : { lines })} />;
  return (
    <>
      {note}
      {children(of.data)}
    </>
  );
}
