/** The table of sessions: as many rows as are in sight, and its true length for whoever is read it. */
import { memo } from "preact/compat";
import { useEffect, useRef, useState } from "preact/hooks";
import type { SessionItem } from "../../api";
import { count, DASH, RelativeTime, StateBadge } from "../../parts";
import { inSight, type InSight } from "../../draw/rows";
import { go, link } from "../../router";
import { toneOfState } from "./tone";

const ROW_PX = 45; // as the style says: a row has one height, so that its place needs no measuring

export function Rows({
  items,
  first,
  total,
}: {
  items: readonly SessionItem[];
  first: number;
  total: number;
}) {
  const body = useRef<HTMLTableSectionElement>(null);
  const sight = useSight(body, items.length);
  return (
    <div class="panel sessions" role="region" aria-label="Sessions" tabIndex={0}>
      <table aria-rowcount={total + 1}>
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col">Session</th>
            <th scope="col">State</th>
            <th scope="col" class="wide">
              Tenant
            </th>
            <th scope="col" class="wide">
              Pipeline
            </th>
            <th scope="col" class="wide">
              Worker
            </th>
            <th scope="col" class="end">
              Turns
            </th>
            <th scope="col">Since</th>
            <th scope="col" class="wide">
              Record
            </th>
          </tr>
        </thead>
        <tbody ref={body}>
          {sight.above > 0 && (
            <tr class="unseen" aria-hidden="true">
              <td colSpan={8} style={{ height: `${sight.above}px` }} />
            </tr>
          )}
          {items.slice(sight.from, sight.to).map((item, index) => (
            <Row key={`${item.tenant}/${item.id}`} item={item} index={first + sight.from + index + 2} />
          ))}
          {sight.below > 0 && (
            <tr class="unseen" aria-hidden="true">
              <td colSpan={8} style={{ height: `${sight.below}px` }} />
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

const Row = memo(
  RowDrawn,
  (one, other) => one.index === other.index && JSON.stringify(one.item) === JSON.stringify(other.item),
);

function RowDrawn({ item, index }: { item: SessionItem; index: number }) {
  const address = link("/sessions/:tenant/:id", { tenant: item.tenant, id: item.id });
  const open = (event: MouseEvent): void => {
    if ((event.target as Element).closest("a") === null) go(address);
  };
  return (
    <tr class="opens" aria-rowindex={index} onClick={open}>
      <td>
        <a class="row-link mono clip" href={address}>
          {item.id}
        </a>
      </td>
      <td>
        <StateBadge state={item.state} tone={toneOfState(item)} />
        {item.reason !== "" && <span class="muted session-reason"> {item.reason}</span>}
      </td>
      <td class="wide">{item.tenant}</td>
      <td class="wide">
        <span class="clip" title={item.pipeline}>
          {item.pipeline || DASH}
        </span>
      </td>
      <td class="wide">
        <span class="clip" title={item.owner}>
          {item.owner || DASH}
        </span>
      </td>
      <td class="end">{count(item.turns)}</td>
      <td>
        <RelativeTime atMs={item.sinceMs || item.openedMs} />
      </td>
      <td class="wide">
        {item.missing.length > 0 ? (
          <StateBadge state={`${item.missing.length} missing`} tone="degraded" />
        ) : item.recorded ? (
          "recorded"
        ) : (
          <span class="muted">none</span>
        )}
      </td>
    </tr>
  );
}

/** Follows the page's scrolling, one look a frame. */
function useSight(body: { readonly current: HTMLElement | null }, rows: number): InSight {
  const [sight, setSight] = useState<InSight>(() => inSight(rows, ROW_PX, 0, innerHeight));
  useEffect(() => {
    let asked = 0;
    const look = (): void => {
      asked = 0;
      const top = -(body.current?.getBoundingClientRect().top ?? 0);
      const next = inSight(rows, ROW_PX, top, innerHeight);
      setSight((old) =>
        old.from === next.from && old.to === next.to && old.below === next.below ? old : next,
      );
    };
    const soon = (): void => {
      asked ||= requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", soon, { passive: true, capture: true });
    addEventListener("resize", soon, { passive: true });
    return () => {
      cancelAnimationFrame(asked);
      removeEventListener("scroll", soon, { capture: true });
      removeEventListener("resize", soon);
    };
  }, [rows]);
  return sight.to > rows ? inSight(rows, ROW_PX, 0, innerHeight) : sight;
}
