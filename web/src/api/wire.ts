/** One way out of the page: every request has the token and an end, and every failure leaves as an `ApiError`. */
import { ApiError, faultFrom, faultOf } from "./fault";
import { forget, session } from "./session";

const TIMEOUT_MS = 30_000;
// A replay, or an order to a worker, takes longer than a look.
const MUTATION_TIMEOUT_MS = 130_000;

export type Variables = Readonly<Record<string, unknown>>;

/** Ask GraphQL; the answer's `data`. */
export async function query<T>(
  text: string,
  variables: Variables = {},
  token?: string,
  timeoutMs = TIMEOUT_MS,
): Promise<T> {
  const body = JSON.stringify({ query: text, variables });
  const answer = await ask(
    "/graphql",
    { method: "POST", body, signal: AbortSignal.timeout(timeoutMs) },
    token,
  );
  const { data } = answer as { data?: T | null };
  if (typeof answer === "object" && answer !== null && "errors" in answer)
    throw signedOut(faultFrom(answer, 200), token);
  if (data === undefined || data === null)
    throw new ApiError("answer_unreadable", "The answer holds no data.");
  return data;
}

/** Ask GraphQL to do something. It is sent once: whoever wants it repeated gives it a key. */
export function mutate<T>(text: string, variables: Variables = {}): Promise<T> {
  return query<T>(text, variables, undefined, MUTATION_TIMEOUT_MS);
}

/** One call of the REST interface; `path` begins with a slash. An answer without a body is null. */
export async function rest<T>(path: string, init: RequestInit = {}): Promise<T> {
  return (await ask(path, init)) as T;
}

/** A file of this server, such as a recording's sound: whole, and with the same token. */
export async function blobOf(path: string): Promise<Blob> {
  const token = session.peek().token ?? undefined;
  const headers: HeadersInit = token === undefined ? {} : { authorization: `Bearer ${token}` };
  let response: Response;
  try {
    const signal = AbortSignal.timeout(4 * TIMEOUT_MS);
    response = await fetch(path, { signal, headers, credentials: "omit" });
    if (response.ok) return await response.blob();
  } catch (caught) {
    throw faultOf(caught);
  }
  throw signedOut(faultFrom(await bodyOf(response), response.status), token);
}

async function ask(
  path: string,
  init: RequestInit,
  token = session.peek().token ?? undefined,
): Promise<unknown> {
  const headers = new Headers(init.headers);
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (init.body !== undefined && !headers.has("content-type"))
    headers.set("content-type", "application/json");
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(path, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...init,
      headers,
      credentials: "omit",
    });
    body = await bodyOf(response);
  } catch (caught) {
    throw faultOf(caught);
  }
  if (!response.ok) throw signedOut(faultFrom(body, response.status), token);
  return body;
}

async function bodyOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (text === "") return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    if (!response.ok) return null;
    throw new ApiError("answer_unreadable", "The answer is not JSON.", "", response.status);
  }
}

/** A token that is refused ends the session that it was of, so that the page asks for another. */
function signedOut(fault: ApiError, token: string | undefined): ApiError {
  if (fault.aboutToken && token !== undefined && token === session.peek().token) forget(fault);
  return fault;
}
