/**
 * Taking an action: a second look, a reason for the record, and the outcome in words. One opening of the dialog has one key, so
 * that a second press, or one after a lost answer, is the same taking.
 */
import { signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { type Action, type ActionResult, type ApiError, faultOf, mutate, newKey } from "../api";
import { brief, Code, Confirm, Dialog, ErrorNote, Note, StateBadge, type Tone } from "../parts";

export const ACTION_FIELDS =
  "id kind title why surface aggregateId tenant role risk allowed call { method path body graphql cli }";
const ACT = `mutation Act($id: ID!, $key: String!, $reason: String!) {
  act(id: $id, key: $key, reason: $reason) { id done repeated message code } }`;
const RISK_TONES: Readonly<Record<string, Tone>> = { low: "plain", medium: "degraded", high: "failed" };

export function RiskBadge({ risk }: { risk: string }) {
  return <StateBadge state={`${risk} risk`} tone={RISK_TONES[risk] ?? "plain"} />;
}

interface Opened {
  action: Action;
  onDone: () => void;
}

// Above the pages, since an action that was taken is offered no more, and its outcome must still be read.
const opened = signal<Opened | null>(null);

/** The button of one action, and everything that follows from pressing it. */
export function ActionButton({ action, onDone, wide = false }: Opened & { wide?: boolean }) {
  return (
    <button
      type="button"
      class={wide ? "button action-wide" : "button small"}
      disabled={!action.allowed}
      title={action.allowed ? action.why : `This needs the role ${action.role}`}
      onClick={() => (opened.value = { action, onDone })}
    >
      {wide ? titleOf(action) : verbOf(action)}
    </button>
  );
}

/** Where the shell draws the dialog of whichever action was chosen. */
export function ActionDialog() {
  const { action, onDone } = opened.value ?? {};
  if (action === undefined || onDone === undefined) return null;
  return <Taking key={action.id} action={action} onDone={onDone} onClose={() => (opened.value = null)} />;
}

/** What would be done; a name that a machine made is no reading. */
export function titleOf({ title, aggregateId }: Action): string {
  return title.replaceAll(aggregateId, brief(aggregateId));
}

export function verbOf(action: Action): string {
  const words = action.kind.replace(/_/g, " ");
  return `${words[0]?.toUpperCase() ?? ""}${words.slice(1)}`;
}

function Taking({ action, onClose, onDone }: Opened & { onClose: () => void }) {
  const key = useRef(newKey());
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [result, setResult] = useState<ActionResult | null>(null);
  const take = (reason: string): void => {
    setBusy(true);
    setError(null);
    mutate<{ act: ActionResult }>(ACT, { id: action.id, key: key.current, reason })
      .then(({ act }) => {
        setResult(act);
        onDone();
      })
      .catch((caught: unknown) => setError(faultOf(caught)))
      .finally(() => setBusy(false));
  };
  if (result !== null) {
    return (
      <Dialog title={verbOf(action)} onClose={onClose}>
        <Outcome result={result} />
        <div class="dialog-buttons">
          <button type="button" class="button primary" autofocus onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Confirm
      title={titleOf(action)}
      verb={verbOf(action)}
      danger={action.risk === "high"}
      reason
      busy={busy}
      onConfirm={take}
      onClose={onClose}
    >
      <p class="muted">{action.why}</p>
      <p class="row">
        <RiskBadge risk={action.risk} /> <StateBadge state={`role: ${action.role}`} />
      </p>
      {error !== null && <ErrorNote error={error} />}
    </Confirm>
  );
}

/** Done, done before, or refused: three things that must not look alike. */
function Outcome({ result }: { result: ActionResult }) {
  const tone = !result.done ? "failed" : result.repeated ? "notice" : "ok";
  const said = !result.done ? "Refused" : result.repeated ? "Done before" : "Done";
  return (
    <div role="status">
      <Note tone={tone}>
        <p>
          <strong>{said}.</strong> {result.message || (result.done ? "It is on record." : "")}{" "}
          {result.code !== "" && <code>{result.code}</code>}
        </p>
      </Note>
    </div>
  );
}

/** The same mutation, in the three ways to ask for it without this page. */
export function Calls({ action }: { action: Action }) {
  const { method, path, body, graphql, cli } = action.call;
  return (
    <div class="calls">
      <Code label="Command line" text={cli} />
      <Code label="REST" text={`${method} ${path}\n\n${JSON.stringify(body, null, 2)}`} />
      <Code label="GraphQL" text={graphql} />
    </div>
  );
}
