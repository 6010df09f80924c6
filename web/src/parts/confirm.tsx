/**
 * Nothing is done without a second look: the dialog keeps the focus, Escape leaves it, and where a reason is on record it must
 * be given. The browser's own dialog does the trapping and gives the focus back.
 */
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useId, useRef, useState } from "preact/hooks";

const REASON_CHARACTERS_MAX = 500;

interface Props {
  title: string;
  children?: ComponentChildren;
  /** What the button says: the deed itself, never "OK". */
  verb: string;
  danger?: boolean;
  /** Ask why; the reason is handed to `onConfirm`, else it is empty. */
  reason?: boolean;
  busy?: boolean;
  onConfirm: (reason: string) => void;
  onClose: () => void;
}

export function Confirm({
  title,
  children,
  verb,
  danger = false,
  reason: needed = false,
  busy = false,
  onConfirm,
  onClose,
}: Props) {
  const [reason, setReason] = useState("");
  const ready = !busy && (!needed || reason.trim() !== "");
  const send = (event: SubmitEvent): void => {
    event.preventDefault();
    if (ready) onConfirm(reason.trim());
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={send}>
        {children}
        {needed && (
          <label class="field">
            <span>Reason, for the record</span>
            <input
              class="input"
              name="reason"
              value={reason}
              maxLength={REASON_CHARACTERS_MAX}
              autocomplete="off"
              required
              autofocus
              onInput={(event) => setReason(event.currentTarget.value)}
            />
          </label>
        )}
        <div class="dialog-buttons">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={danger ? "button danger" : "button primary"} disabled={!ready}>
            {busy ? "Working" : verb}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** A dialog over the page, for whatever needs one. */
export function Dialog({
  title,
  children,
  onClose,
  side = false,
}: {
  title: string;
  children: ComponentChildren;
  onClose: () => void;
  side?: boolean;
}) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const opened = box.current;
    const before = document.activeElement;
    opened?.showModal();
    return () => {
      opened?.close();
      // What was pressed may be gone by now, and its dialog with it.
      const back = before?.isConnected === true ? before : document.getElementById("main");
      if (back instanceof HTMLElement) back.focus();
    };
  }, []);
  const left = (event: Event): void => {
    event.preventDefault();
    onClose();
  };
  const clicked = (event: MouseEvent): void => {
    if (event.target === box.current) onClose(); // the backdrop belongs to the dialog itself
  };
  return (
    <dialog
      ref={box}
      class={side ? "dialog dialog-side" : "dialog"}
      aria-labelledby={id}
      onCancel={left}
      onClick={clicked}
    >
      <div class="dialog-inner">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}
