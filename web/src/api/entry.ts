/** Signing in and out: a token is believed when the server has said whose it is, and connections never outlive it. */
import { effect } from "@preact/signals";
import { faultOf } from "./fault";
import { connect, disconnect } from "./live";
import { forget, keepToken, onTokenCame, session, takeToken } from "./session";
import type { Me } from "./types";
import { forgetAnswers } from "./useQuery";
import { query } from "./wire";

const ME = `query Me { me { id tenants everywhere permissions version dev } }`;

/** Sign in with this token; throws an `ApiError` when the server does not take it. */
export async function signIn(token: string): Promise<void> {
  const { me } = await query<{ me: Me }>(ME, {}, token);
  keepToken(token);
  session.value = { token, me, ended: null };
}

/** Whose the kept token is; nothing comes of it where somebody signed out meanwhile. */
async function confirm(token: string): Promise<void> {
  const { me } = await query<{ me: Me }>(ME, {}, token);
  if (takeToken() === token) session.value = { token, me, ended: null };
}

export function signOut(): void {
  forget();
}

/** Called once, when the page starts. */
export async function enter(): Promise<void> {
  let connected: string | null = null;
  effect(() => {
    const { token } = session.value;
    if (token === connected) return;
    connected = token;
    if (token !== null) connect(() => void again());
    else {
      disconnect();
      forgetAnswers();
    }
  });
  onTokenCame(() => {
    forget(); // nothing of whoever was signed in is for the next one
    void again();
  });
  await again();
}

/** Sign in with the token that this tab keeps, if it keeps one. */
export async function again(): Promise<void> {
  const token = takeToken();
  if (token === null) return;
  try {
    await confirm(token);
  } catch (caught) {
    if (takeToken() !== token) return;
    const fault = faultOf(caught);
    if (fault.aboutToken) forget(fault);
    else session.value = { token: null, me: null, ended: fault };
  }
}
