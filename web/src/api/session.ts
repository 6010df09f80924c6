/**
 * The token lives in this tab alone: it comes in the address once and is taken out of it, or from the sign-in page, and is
 * never written anywhere but the tab's session storage.
 */
import { effect, signal } from "@preact/signals";
import type { ApiError } from "./fault";
import type { Me } from "./types";

export interface Session {
  token: string | null;
  /** Who the token is for; null until the server has said so. */
  me: Me | null;
  /** Why somebody who was signed in is not any more. */
  ended: ApiError | null;
}

const KEY = "rspp.token";

export const session = signal<Session>({ token: null, me: null, ended: null });

function inAddress(): string | null {
  return new URLSearchParams(location.hash.replace(/^#\/?/, "")).get("token");
}

/** The address that signs in may be opened where the console is shown already: then nothing but its hash changes. */
export function onTokenCame(came: () => void): void {
  addEventListener("hashchange", () => {
    if (inAddress() !== null) came();
  });
}

/** Read the token that came along, and forget that it was in the address. */
export function takeToken(): string | null {
  const given = inAddress();
  if (given !== null) {
    history.replaceState(null, "", `${location.pathname}${location.search}#/`);
    dispatchEvent(new HashChangeEvent("hashchange")); // a replaced address tells nobody by itself
    keepToken(given);
    return given;
  }
  return sessionStorage.getItem(KEY);
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function forget(ended: ApiError | null = null): void {
  sessionStorage.removeItem(KEY);
  session.value = { token: null, me: null, ended };
}

/** Called when whoever was signed in is so no more: what they have seen is not for the next one. */
export function onSignedOut(forgotten: () => void): () => void {
  let before: string | null = null;
  return effect(() => {
    const { token } = session.value;
    if (before !== null && token === null) forgotten();
    before = token;
  });
}

export function may(permission: string): boolean {
  return session.value.me?.permissions.includes(permission) ?? false;
}
