/** A session done again: the kernel on its recorded inputs, and the comparison with another recording. */
import { useState } from "preact/hooks";
import {
  type ApiError,
  type DiffResult,
  faultOf,
  mutate,
  type ReplayResult,
  type SessionItem,
  type SessionPage,
  useQuery,
} from "../../api";
import {
  Answer,
  count,
  Dialog,
  ErrorNote,
  Loading,
  Note,
  Panel,
  plural,
  RelativeTime,
  SearchField,
} from "../../parts";
import { Compared } from "./compared";
import { Value } from "./value";

const REPLAY = `mutation Replay($tenant: String!, $session: String!) { replay(tenant: $tenant, session: $session) { same message compared digest divergence } }`;
const DIFF = `mutation Diff($tenant: String!, $session: String!, $with: String!) { diff(tenant: $tenant, session: $session, with: $with) { same message differences } }`;
const OTHERS = `query Others($tenant: String!, $text: String) { sessions(tenant: $tenant, text: $text, first: 30) { items { id pipeline state recorded turns openedMs } } }`;

type Result = { of: "replay"; is: ReplayResult } | { of: "diff"; with: string; is: DiffResult };

/** One run at a time; what it came to stays until the next one. */
function useRun() {
  const [busy, setBusy] = useState("");
  const [result, setResult] = useState<Result | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const run = async (what: string, asked: () => Promise<Result>): Promise<void> => {
    setBusy(what);
    setError(null);
    setResult(null);
    try {
      setResult(await asked());
    } catch (problem) {
      setError(faultOf(problem));
    }
    setBusy("");
  };
  return { busy, result, error, run };
}

async function replayed({ tenant, id }: SessionItem): Promise<Result> {
  const { replay: is } = await mutate<{ replay: ReplayResult }>(REPLAY, { tenant, session: id });
  return { of: "replay", is };
}

async function compared({ tenant, id }: SessionItem, other: string): Promise<Result> {
  const { diff: is } = await mutate<{ diff: DiffResult }>(DIFF, { tenant, session: id, with: other });
  return { of: "diff", with: other, is };
}

export function Again({ item }: { item: SessionItem }) {
  const { busy, result, error, run } = useRun();
  const [choosing, setChoosing] = useState(false);
  const compare = (other: string): void => {
    setChoosing(false);
    void run("Comparing", () => compared(item, other));
  };
  const button = (name: string, testId: string, onClick: () => void) => (
    <button
      type="button"
      class="button small"
      disabled={busy !== "" || !item.recorded}
      onClick={onClick}
      data-testid={testId}
    >
      {name}
    </button>
  );
  return (
    <Panel
      title="Done again"
      side={
        <>
          {button("Replay", "replay", () => void run("Running the kernel again", () => replayed(item)))}
          {button("Compare with", "diff", () => setChoosing(true))}
        </>
      }
    >
      <div aria-live="polite">
        {busy !== "" && <Loading what={busy} lines={2} />}
        {error !== null && <ErrorNote error={error} />}
        {result?.of === "replay" && <Replayed is={result.is} />}
        {result?.of === "diff" && <Compared is={result.is} other={result.with} />}
        {busy === "" && result === null && error === null && (
          <p class="muted">
            {item.recorded
              ? "A replay runs the kernel on the recorded inputs, and compares every step. A comparison names what differs between two recordings, causes first."
              : "There is no recording of this session, so it cannot be run again."}
          </p>
        )}
      </div>
      {choosing && <Choose item={item} onChoose={compare} onClose={() => setChoosing(false)} />}
    </Panel>
  );
}

function Replayed({ is }: { is: ReplayResult }) {
  return (
    <div class="stack" data-testid="replayed" data-same={String(is.same)} data-compared={is.compared}>
      <Note tone={is.same ? "ok" : "failed"}>
        <p>
          <strong>{is.same ? "The same" : "It diverged"}</strong> {is.message}
        </p>
        <p class="muted">
          {count(is.compared)} compared
          {is.digest && (
            <>
              , digest <code>{is.digest.slice(0, 16)}</code>
            </>
          )}
        </p>
      </Note>
      {is.divergence && <Value of={is.divergence} />}
    </div>
  );
}

/** Another recorded session of the same tenant. */
function Choose({
  item,
  onChoose,
  onClose,
}: {
  item: SessionItem;
  onChoose: (id: string) => void;
  onClose: () => void;
}) {
  const [text, setText] = useState("");
  const [wanted, setWanted] = useState("");
  const others = useQuery<{ sessions: SessionPage }>(OTHERS, { tenant: item.tenant, text: wanted || null }, [
    "recordings",
  ]);
  const find = (event: SubmitEvent): void => {
    event.preventDefault();
    setWanted(text.trim());
  };
  return (
    <Dialog title="Compare with which session?" onClose={onClose}>
      <form class="choose" onSubmit={find}>
        <SearchField label="Session" placeholder="Session or pipeline" value={text} onInput={setText} />
        <button type="submit" class="button">
          Find
        </button>
      </form>
      <Answer of={others} what="recorded sessions">
        {({ sessions }) => (
          <Choices
            of={sessions.items.filter((one) => one.recorded && one.id !== item.id)}
            onChoose={onChoose}
          />
        )}
      </Answer>
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={onClose}>
          Cancel
        </button>
      </div>
    </Dialog>
  );
}

function Choices({ of, onChoose }: { of: readonly SessionItem[]; onChoose: (id: string) => void }) {
  if (of.length === 0) return <p class="muted">No other recorded session was found.</p>;
  return (
    <ul class="choices">
      {of.map((one) => (
        <li key={one.id}>
          <button type="button" class="button choice" data-testid="choice" onClick={() => onChoose(one.id)}>
            <span class="mono">{one.id}</span>
            <span class="muted">
              {one.pipeline}, {plural(one.turns, "turn")}, <RelativeTime atMs={one.openedMs} />
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}
