/** The head of a page: exactly one first heading, what it is about, and what can be done with the whole of it. */
import type { ComponentChildren } from "preact";

interface Props {
  title: ComponentChildren;
  sub?: ComponentChildren;
  /** Buttons, at the end of the line. */
  children?: ComponentChildren;
}

export function PageHeader({ title, sub, children }: Props) {
  return (
    <header class="page-header">
      <div class="page-header-text">
        <h1>{title}</h1>
        {sub !== undefined && <p class="muted">{sub}</p>}
      </div>
      {children !== undefined && <div class="page-header-side">{children}</div>}
    </header>
  );
}

/** A part of a page, under a second heading of its own. */
export function Panel({
  title,
  side,
  children,
  flush = false,
}: {
  title?: ComponentChildren;
  side?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean;
}) {
  return (
    <section class={flush ? "panel panel-flush" : "panel"}>
      {title !== undefined && (
        <div class="panel-head">
          <h2>{title}</h2>
          {side !== undefined && <div class="panel-side">{side}</div>}
        </div>
      )}
      <div class="panel-body">{children}</div>
    </section>
  );
}

/** One figure with its name; below it, what makes sense of the figure. */
export function Stat({
  label,
  value,
  sub,
  children,
}: {
  label: string;
  value: ComponentChildren;
  sub?: ComponentChildren;
  children?: ComponentChildren;
}) {
  return (
    <div class="stat">
      <div class="stat-label">{label}</div>
      <div class="stat-value">{value}</div>
      {sub !== undefined && <div class="stat-sub">{sub}</div>}
      {children}
    </div>
  );
}
