/** All rows of a session's timeline, page by page, and those that come while it goes on. */
import { useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, faultOf, Paced, query, type TimelinePage, type TimelineRow, watch } from "../../api";

const PAGE = 500;
export const ROWS_MAX = 6000; // more are not drawn; the table pages through them all
const EVERY_MS = 1500;

const PART = `query TimelinePart($tenant: String!, $id: String!, $first: Int!, $after: Int!) {
  session(tenant: $tenant, id: $id) {
    timeline(first: $first, after: $after) { items { number atMs direction lane node turn kind text count } next total }
  }
}`;

export interface Followed {
  rows: readonly TimelineRow[];
  total: number;
  error: ApiError | null;
  done: boolean;
}

/** `stamp` changes when the session does. The last page is asked for again, since its rows may have grown. */
export function useTimeline(tenant: string, id: string, stamp: string): Followed {
  const [state, setState] = useState<Followed>({ rows: [], total: 0, error: null, done: false });
  const pages = useRef<{ after: number; items: TimelineRow[] }[]>([]); // bounded: ROWS_MAX / PAGE
  useEffect(() => {
    let current = true;
    const paced = new Paced(async () => {
      let after: number | null = pages.current.pop()?.after ?? 0;
      try {
        while (current && after !== null && pages.current.length * PAGE < ROWS_MAX) {
          const answer: { session: { timeline: TimelinePage } | null } = await query(PART, {
            tenant,
            id,
            first: PAGE,
            after,
          });
          const page = answer.session?.timeline;
          if (!page || !current) break;
          pages.current.push({ after, items: page.items });
          setState({
            rows: pages.current.flatMap(({ items }) => items),
            total: page.total,
            error: null,
            done: page.next === null,
          });
          after = page.next;
        }
      } catch (problem) {
        if (current) setState((old) => ({ ...old, error: faultOf(problem), done: true }));
      }
    }, EVERY_MS);
    paced.ask();
    const unwatch = watch((changed) => changed.aggregateId.includes(id), paced);
    return () => {
      current = false;
      paced.stop();
      unwatch();
    };
  }, [tenant, id, stamp]);
  return state;
}
