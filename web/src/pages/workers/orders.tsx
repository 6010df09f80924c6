/**
 * What a worker can be told at any time by whoever may, whether health offers it or not: take nobody new, give its calls away,
 * take callers again. A second look and a reason for the record come first; what the worker says of it is shown.
 */
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { type ApiError, faultOf, may, rest, type Row } from "../../api";
import { Confirm, Dialog, ErrorNote, Note } from "../../parts";
import { type Order, ORDERS, ordersFor } from "./order";

interface Ordered {
  outcome: "done" | "refused" | "failed";
  message: string;
}

interface Opened {
  worker: string;
  order: Order;
  onDone: () => void;
}

const opened = signal<Opened | null>(null);

interface Props {
  row: Row;
  /** The kinds of action that health offers for this worker: those are shown once, with their reason. */
  offered: readonly string[];
  onDone: () => void;
  wide?: boolean;
}

export function OrderButtons({ row, offered, onDone, wide = false }: Props) {
  if (!may("workers.drain")) return null;
  return (
    <>
      {ordersFor(row, offered).map((order) => (
        <button
          key={order}
          type="button"
          class={wide ? "button action-wide" : "button small"}
          onClick={() => (opened.value = { worker: row.aggregateId, order, onDone })}
        >
          {wide ? ORDERS[order].title : ORDERS[order].verb}
        </button>
      ))}
    </>
  );
}

/** Where the page draws the dialog of whichever order was chosen. */
export function OrderDialog() {
  const chosen = opened.value;
  return chosen === null ? null : <Giving key={`${chosen.worker} ${chosen.order}`} {...chosen} />;
}

function Giving({ worker, order, onDone }: Opened) {
  const { verb, title, means, path, mode } = ORDERS[order];
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [result, setResult] = useState<Ordered | null>(null);
  const close = (): void => {
    opened.value = null;
  };
  const give = (reason: string): void => {
    setBusy(true);
    setError(null);
    const body = JSON.stringify(mode === undefined ? { reason } : { reason, mode });
    rest<Ordered>(`/v1/workers/${encodeURIComponent(worker)}/${path}`, { method: "POST", body })
      .then((answer) => {
        setResult(answer);
        onDone();
      })
      .catch((caught: unknown) => setError(faultOf(caught)))
      .finally(() => setBusy(false));
  };
  if (result !== null) return <Outcome title={title} result={result} onClose={close} />;
  return (
    <Confirm title={`${title}?`} verb={verb} reason busy={busy} onConfirm={give} onClose={close}>
      <p>
        <code>{worker}</code>
      </p>
      <p class="muted">{means}</p>
      {error !== null && <ErrorNote error={error} />}
    </Confirm>
  );
}

const TONES = { done: "ok", refused: "notice", failed: "failed" } as const;
const SAID: Readonly<Record<Ordered["outcome"], string>> = {
  done: "The worker does it now.",
  refused: "The worker refused.",
  failed: "It failed.",
};

function Outcome({ title, result, onClose }: { title: string; result: Ordered; onClose: () => void }) {
  return (
    <Dialog title={title} onClose={onClose}>
      <div role="status">
        <Note tone={TONES[result.outcome]}>
          <p>
            <strong>{SAID[result.outcome]}</strong> {result.message}
          </p>
        </Note>
      </div>
      <div class="dialog-buttons">
        <button type="button" class="button primary" autofocus onClick={onClose}>
          Close
        </button>
      </div>
    </Dialog>
  );
}
