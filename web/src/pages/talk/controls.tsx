/** What begins a call and what steers it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { type Pipeline, session, type SessionItem, useQuery } from "../../api";
import { Icon, StateBadge, type Tone } from "../../parts";
import { route, searchFor } from "../../router";
import type { State } from "../../talk/conversation";
import { begin, hangUp, interrupt, level, mute, muted, talk, type } from "../../talk/current";
import { tenantsFor } from "../../talk/tenants";

const TENANTS = `query TenantsSeen { sessions(first: 50) { items { tenant } } }`;
const PIPELINES = `query PipelineNames($tenant: String) { pipelines(tenant: $tenant) { name version } }`;

export function Setup() {
  const { me } = session.value;
  const own = me?.tenants ?? [];
  const seen = useQuery<{ sessions: { items: Pick<SessionItem, "tenant">[] } }>(
    TENANTS,
    {},
    [],
    own.length > 0,
  );
  const answered = seen.data !== undefined || seen.error !== undefined;
  const tenants = answered ? tenantsFor(me, seen.data?.sessions.items.map((one) => one.tenant) ?? []) : own; // nothing stands there yet that would change under somebody's hands
  const { search } = route.value;
  // What was cleared by hand stays empty; before that, something sensible stands there.
  const [typed, setTyped] = useState<string | null>(null);
  const [missing, setMissing] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  const tenant = (typed ?? search["tenant"] ?? tenants[0] ?? "").trim();
  const chosen = search["pipeline"] ?? "";
  const { data } = useQuery<{ pipelines: Pick<Pipeline, "name" | "version">[] }>(
    PIPELINES,
    { tenant },
    ["pipelines"],
    tenant === "",
  );
  const start =
    (listening: boolean) =>
    (event: Event): void => {
      event.preventDefault();
      setMissing(tenant === "");
      if (tenant !== "") begin(tenant, chosen, listening);
      else field.current?.focus();
    };
  return (
    <form class="panel talk-setup" noValidate onSubmit={start(true)}>
      <label class="field">
        <span>Tenant</span>
        <input
          class="input"
          name="tenant"
          list="talk-tenants"
          required
          ref={field}
          value={typed ?? tenant}
          autocomplete="off"
          spellcheck={false}
          aria-invalid={missing}
          aria-describedby={missing ? "talk-missing" : undefined}
          onInput={(event) => {
            setTyped(event.currentTarget.value);
            setMissing(false);
            searchFor({ tenant: event.currentTarget.value.trim() });
          }}
        />
        <datalist id="talk-tenants">
          {tenants.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      </label>
      <label class="field">
        <span>Pipeline</span>
        <select
          class="input"
          name="pipeline"
          value={chosen}
          onChange={(event) => searchFor({ pipeline: event.currentTarget.value })}
        >
          <option value="">What is rolled out to the tenant</option>
          {data?.pipelines.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <div class="talk-buttons">
        <button type="submit" class="button primary talk-call" data-testid="call">
          <Icon name="talk" /> Call
        </button>
        <button type="button" class="button" data-testid="words-only" onClick={start(false)}>
          Only type
        </button>
      </div>
      {missing && (
        <p id="talk-missing" role="alert" class="talk-missing">
          Say whose call it is: the name of a tenant.
        </p>
      )}
    </form>
  );
}

const STATES: Readonly<Record<State, { words: string; tone: Tone }>> = {
  off: { words: "Not connected", tone: "plain" },
  microphone: { words: "Waiting for the microphone: allow it in the browser", tone: "notice" },
  connecting: { words: "Connecting", tone: "notice" },
  listening: { words: "Listening", tone: "ok" },
  hearing: { words: "You are speaking", tone: "accent" },
  thinking: { words: "Thinking", tone: "degraded" },
  speaking: { words: "Answering", tone: "ok" },
  paused: { words: "Paused: was that an interruption?", tone: "notice" },
  reconnecting: { words: "The line is lost; connecting again", tone: "failed" },
};

export function Controls() {
  const { state, wordsOnly } = talk.value;
  const ready = !["microphone", "connecting", "reconnecting"].includes(state);
  return (
    <section class="panel talk-controls" aria-label="This call">
      <div class="talk-now">
        <span role="status" data-testid="state">
          <StateBadge state={STATES[state].words} tone={STATES[state].tone} />
        </span>
        {wordsOnly ? <span class="talk-meter" /> : <Meter />}
        <div class="talk-buttons">
          {!wordsOnly && (
            <button
              type="button"
              class="button"
              aria-pressed={muted.value}
              data-testid="mute"
              onClick={() => mute(!muted.value)}
            >
              Mute
            </button>
          )}
          <button
            type="button"
            class="button"
            disabled={state !== "speaking" && state !== "thinking"}
            onClick={interrupt}
          >
            Interrupt
          </button>
          <button type="button" class="button danger" data-testid="hang-up" onClick={hangUp}>
            Hang up
          </button>
        </div>
      </div>
      <Typed ready={ready} />
    </section>
  );
}

function Typed({ ready }: { ready: boolean }) {
  const [words, setWords] = useState("");
  const send = (event: SubmitEvent): void => {
    event.preventDefault();
    if (words.trim() === "" || !ready) return;
    type(words.trim());
    setWords("");
  };
  return (
    <form class="talk-typed" onSubmit={send}>
      <input
        class="input"
        aria-label="Message"
        placeholder="Or type, and press Enter"
        value={words}
        autocomplete="off"
        maxLength={2000}
        data-testid="words"
        onInput={(event) => setWords(event.currentTarget.value)}
      />
      <button type="submit" class="button" disabled={!ready || words.trim() === ""}>
        Send
      </button>
    </form>
  );
}

/** The microphone's level, fifty times a second and so past the page's own drawing. */
function Meter() {
  const bar = useRef<HTMLDivElement>(null);
  useEffect(
    () =>
      level.subscribe((is) => {
        // A square root: the ear hears relations, and quiet speech should be seen to arrive.
        if (bar.current) bar.current.style.transform = `scaleX(${Math.min(1, Math.sqrt(is * 2)).toFixed(3)})`;
      }),
    [],
  );
  return (
    <div class="talk-meter" aria-hidden="true">
      <Icon name="talk" size={14} />
      <div class="talk-meter-frame">
        <div class="talk-meter-bar" ref={bar} />
      </div>
    </div>
  );
}
