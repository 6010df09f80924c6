/** Whatever goes wrong between page and server is one `ApiError`: a stable code, a sentence, and what to do about it. */

export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly remedy: string = "",
    readonly status: number = 0,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }

  /** The token is not (or no longer) good: only signing in again helps. */
  get aboutToken(): boolean {
    return (
      this.status === 401 || this.code === "unauthenticated" || /^(token|key|principal)_/.test(this.code)
    );
  }

  /** The caller is known and may not do this. */
  get refused(): boolean {
    return this.status === 403 || this.code === "permission_denied";
  }
}

// What the server itself says of a code comes first; these are for what it cannot say.
const REMEDIES: Readonly<Record<string, string>> = {
  unreachable: "Check that the server runs and that this machine reaches it. The page tries again by itself.",
  timeout: "The server took too long. Try again; if it stays so, look at its log.",
  unauthenticated: "Sign in with a token that is valid here.",
  authentication_paused: "Wait a moment before the next attempt.",
  queries_full: "The server is busy; the page asks again by itself.",
  permission_denied: "Ask an administrator for the role that this needs.",
  answer_unreadable: "Something between page and server answers in its place; check the address.",
};

/** An `ApiError` out of whatever was caught. */
export function faultOf(caught: unknown): ApiError {
  if (caught instanceof ApiError) return caught;
  if (caught instanceof DOMException && caught.name === "TimeoutError") {
    return new ApiError("timeout", "The server did not answer in time.", REMEDIES["timeout"]);
  }
  if (caught instanceof TypeError) {
    return new ApiError("unreachable", "The server cannot be reached.", REMEDIES["unreachable"]);
  }
  return new ApiError("page_error", caught instanceof Error ? caught.message : String(caught));
}

interface Told {
  code?: unknown;
  message?: unknown;
  remedy?: unknown;
  retry_after_ms?: unknown;
  extensions?: Told;
}

/** An `ApiError` out of an answer's body: a fault of REST, or the first of GraphQL's errors. */
export function faultFrom(body: unknown, status: number): ApiError {
  const told = (firstFault(body) ?? {}) as Told;
  const more = told.extensions ?? told;
  const code =
    textOf(more.code) || textOf(told.code) || (status === 401 ? "unauthenticated" : `http_${status}`);
  const message = textOf(told.message) || `The server answered ${status}.`;
  const remedy = textOf(more.remedy) || REMEDIES[code] || "";
  const retry = more.retry_after_ms;
  return new ApiError(code, message, remedy, status, typeof retry === "number" ? retry : null);
}

function firstFault(body: unknown): unknown {
  if (typeof body !== "object" || body === null) return null;
  if ("errors" in body && Array.isArray(body.errors)) return body.errors[0] as unknown;
  return "error" in body && typeof body.error === "object" ? body.error : body;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
