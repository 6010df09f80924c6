/** Signing in: a token is pasted, tried against the server, and believed when the server says whose it is. */
import { useState } from "preact/hooks";
import { again, type ApiError, faultOf, session, signIn } from "../api";
import { Brand } from "../nav";
import { ErrorNote, Icon } from "../parts";

export function SignIn() {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const shown = error ?? session.value.ended;
  // A server that does not answer says nothing against the token: it is kept, and can be tried again.
  const kept = error === null && shown !== null && !shown.aboutToken;
  const retry = (): void => void again();
  const send = (event: SubmitEvent): void => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    signIn(token.trim())
      .catch((caught: unknown) => setError(faultOf(caught)))
      .finally(() => setBusy(false));
  };
  return (
    <main class="signin" id="main">
      <form class="signin-box" onSubmit={send}>
        <Brand size={36} />
        <h1>RSPP console</h1>
        <p class="muted">Sign in with an access token. It stays in this tab and is gone when you close it.</p>
        {shown !== null && <ErrorNote error={shown} {...(kept ? { onRetry: retry } : {})} />}
        <label class="field">
          <span>Access token</span>
          <input
            class="input"
            type="password"
            name="token"
            autocomplete="off"
            spellcheck={false}
            required
            autofocus
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="button primary" disabled={busy || token.trim() === ""}>
          <Icon name="key" size={14} />
          {busy ? "Signing in" : "Sign in"}
        </button>
        <details class="muted">
          <summary>Where do I get one?</summary>
          <p>
            <code>rspp console</code> prints an address that signs you in. Elsewhere an administrator makes
            one: <code>rspp control principals token NAME</code>.
          </p>
        </details>
      </form>
    </main>
  );
}
