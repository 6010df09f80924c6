/**
 * A query that keeps itself true: it is asked once, asked again when one of its surfaces changes (at most once a second),
 * and what was known stays on the page meanwhile.
 */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type ApiError, faultOf } from "./fault";
import { type Changed, connection, onChanged } from "./live";
import { Paced } from "./pace";
import { session } from "./session";
import { query, type Variables } from "./wire";

export interface Asked<T> {
  data?: T;
  error?: ApiError;
  loading: boolean;
  refetch(): void;
}

const EVERY_MS = 1_000;
// Only while nothing is heard: slow, since it is a guess.
const FALLBACK_MS = 10_000;
const ANSWERS_MAX = 64;

// The last answers, so that a page that is opened again shows what it knew. bounded: ANSWERS_MAX, the oldest goes
const answers = new Map<string, unknown>();

export function forgetAnswers(): void {
  answers.clear();
}

function keep(key: string, data: unknown): void {
  answers.delete(key);
  answers.set(key, data);
  const oldest = answers.keys().next();
  if (answers.size > ANSWERS_MAX && !oldest.done) answers.delete(oldest.value);
}

/**
 * `surfaces` names what the answer depends on: "workers" for the whole surface, "sessions:ID" for one of it alone.
 * `skip` asks nothing for now.
 */
export function useQuery<T>(
  text: string,
  variables: Variables,
  surfaces: readonly string[],
  skip = false,
): Asked<T> {
  const key = `${text}\n${JSON.stringify(variables)}`;
  const [state, setState] = useState<{ key: string; data?: T; error?: ApiError; loading: boolean }>(() =>
    first<T>(key),
  );
  const paced = useRef<Paced | null>(null);
  const watched = surfaces.join(" ");

  useEffect(() => {
    if (skip) return undefined;
    let current = true;
    setState((old) => ({ ...old, ...first<T>(key) }));
    const mine = new Paced(async () => {
      const { token } = session.peek();
      try {
        const data = await query<T>(text, variables);
        if (token === session.peek().token) keep(key, data); // else it is another person's by now
        if (current) setState({ key, data, loading: false });
      } catch (caught) {
        const error = faultOf(caught);
        if (!current) return;
        setState((old) => ({ ...old, key, error, loading: false }));
        if (error.retryAfterMs !== null) setTimeout(() => mine.ask(), error.retryAfterMs);
      }
    }, EVERY_MS);
    paced.current = mine;
    mine.ask();
    const names = watched.split(" ");
    const unwatch = watch((changed) => concerns(names, changed), mine);
    return () => {
      current = false;
      mine.stop();
      unwatch();
    };
    // The key says all that the text and the variables say.
  }, [key, watched, skip]);

  const refetch = useCallback(() => paced.current?.now(), []);
  const { key: _, ...rest } = state;
  return { ...rest, refetch };
}

function first<T>(key: string): { key: string; data?: T; loading: boolean } {
  const known = answers.get(key) as T | undefined;
  return known === undefined ? { key, loading: true } : { key, data: known, loading: true };
}

/** Asks when it must: a change that matters, a page that is looked at again, and a slow guess while nothing is heard. */
export function watch(matters: (changed: Changed) => boolean, paced: Paced): () => void {
  let missed = false;
  const ask = (): void => {
    missed = document.hidden;
    if (!missed) paced.ask();
  };
  const unlisten = onChanged((changed) => {
    if (changed === null || matters(changed)) ask();
  });
  const seen = (): void => {
    if (missed && !document.hidden) ask();
  };
  document.addEventListener("visibilitychange", seen);
  const timer = setInterval(() => {
    if (connection.peek() !== "live") ask();
  }, FALLBACK_MS);
  return () => {
    unlisten();
    clearInterval(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}

export function concerns(surfaces: readonly string[], changed: Changed): boolean {
  return surfaces.some(
    (one) => one === changed.surface || one === `${changed.surface}:${changed.aggregateId}`,
  );
}
