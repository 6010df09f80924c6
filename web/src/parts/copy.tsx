/** Text that goes to the clipboard by one button, which says that it did. */
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icon";

const SAID_MS = 1_600;

export function Copy({
  text,
  label = "Copy",
  small = true,
}: {
  text: string;
  label?: string;
  small?: boolean;
}) {
  const [said, setSaid] = useState<"" | "copied" | "failed">("");
  useEffect(() => {
    if (said === "") return undefined;
    const timer = setTimeout(() => setSaid(""), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = (): void => {
    write(text).then(
      () => setSaid("copied"),
      () => setSaid("failed"),
    );
  };
  return (
    <button type="button" class={small ? "button quiet small" : "button quiet"} onClick={copy}>
      <Icon name={said === "copied" ? "check" : "copy"} size={14} />
      <span aria-live="polite">
        {said === "" ? label : said === "copied" ? "Copied" : "Select it by hand"}
      </span>
    </button>
  );
}

/** The clipboard is only given to pages over TLS or of this machine; elsewhere the browser says no, and so do we. */
async function write(text: string): Promise<void> {
  if (navigator.clipboard === undefined) throw new Error("no clipboard here");
  await navigator.clipboard.writeText(text);
}

/** A line of code with its button. */
export function Code({ text, label }: { text: string; label: string }) {
  return (
    <div class="code">
      <div class="code-label">
        <span>{label}</span>
        <Copy text={text} />
      </div>
      <pre tabIndex={0}>{text}</pre>
    </div>
  );
}
