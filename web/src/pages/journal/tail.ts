/**
 * The end of the journal, kept up to date by asking only for what came after the last record that is here. A page that was
 * compacted away is said, never glossed over; records are kept to a bound, the oldest go.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, faultOf, type JournalPage, Paced, query, type StateChange, watch } from "../../api";

const PAGE = `query Journal($after: Float!, $surface: String, $first: Int!) {
  journal(after: $after, surface: $surface, first: $first) { next last compacted oldest items {
    schemaVersion eventId sequence occurredAt source surface changeType aggregateType aggregateId changedSurfaces severity
    snapshotHint mutatesAuthorityState artifactRef correlationId causationId metadata } } }`;
const FIRST = 100;
// Records that are looked through when the page is opened, or when older ones are asked for.
const BACK = 300;
export const RECORDS_MAX = 1_500;
const EVERY_MS = 1_000;
const PAGES_MAX = 20;

export interface Tail {
  /** Oldest first. */
  records: readonly StateChange[];
  last: number;
  oldest: number;
  /** From where on the records are here. */
  from: number;
  compacted: boolean;
}

export interface Following {
  tail: Tail | null;
  error: ApiError | null;
  older: () => void;
  again: () => void;
}

export function useTail(surface: string, held: boolean): Following {
  const [tail, setTail] = useState<Tail | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [back, setBack] = useState(BACK);
  const paced = useRef<Paced | null>(null);
  const known = useRef<Tail | null>(null);

  useEffect(() => {
    known.current = null;
    setTail(null);
  }, [surface, back]);

  useEffect(() => {
    if (held && known.current !== null) return undefined; // what is asked for while held is still fetched once
    let current = true;
    const mine = new Paced(async () => {
      try {
        const next = await further(known.current, surface === "" ? null : surface, back);
        if (!current) return;
        known.current = next;
        setTail(next);
        setError(null);
      } catch (caught) {
        if (current) setError(faultOf(caught));
      }
    }, EVERY_MS);
    paced.current = mine;
    mine.ask();
    const unwatch = held ? undefined : watch(() => true, mine);
    return () => {
      current = false;
      mine.stop();
      unwatch?.();
    };
  }, [surface, held, back]);

  const older = useCallback(() => setBack((now) => now + BACK), []);
  const again = useCallback(() => paced.current?.now(), []);
  return { tail, error, older, again };
}

async function further(known: Tail | null, surface: string | null, back: number): Promise<Tail> {
  if (known !== null) return after(known, surface);
  const { last, oldest } = await page(0, surface, 1);
  const from = Math.max(oldest - 1, last - back, 0);
  return after({ records: [], last: from, oldest, from, compacted: false }, surface);
}

async function after(known: Tail, surface: string | null): Promise<Tail> {
  let { records, last, oldest, compacted, from } = known;
  for (let pages = 0; pages < PAGES_MAX; pages += 1) {
    const found = await page(last, surface, FIRST);
    const restarted = found.last < last;
    if (restarted)
      return after({ records: [], last: 0, oldest: found.oldest, from: 0, compacted: true }, surface);
    compacted ||= found.compacted;
    oldest = found.oldest;
    const longer = [...records, ...found.items];
    records = longer.slice(-RECORDS_MAX);
    if (longer.length > records.length) from = records[0]!.sequence - 1; // the oldest went
    const before = last;
    last = found.items.length > 0 ? Math.max(last, found.next) : found.last;
    if (last >= found.last || last === before) break;
  }
  return { records, last, oldest, from, compacted };
}

async function page(after_: number, surface: string | null, first: number): Promise<JournalPage> {
  const { journal } = await query<{ journal: JournalPage }>(PAGE, { after: after_, surface, first });
  return journal;
}
