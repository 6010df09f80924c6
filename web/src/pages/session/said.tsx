/** What was said, by whom and when, and how much of an answer its caller heard. */
import type { Said as Line } from "../../api";
import { duration, Empty } from "../../parts";
import { clock } from "../../draw/view";

export function Said({
  lines,
  live,
  onSeek,
}: {
  lines: readonly Line[];
  live: boolean;
  onSeek: (ms: number) => void;
}) {
  if (lines.length === 0)
    return (
      <Empty title="Nothing said that may be shown">
        {live ? "Words appear here as they are recorded." : undefined}
      </Empty>
    );
  return (
    <ol class="said" aria-live={live ? "polite" : undefined} tabIndex={0} aria-label="Transcript">
      {lines.map((line, index) => {
        const assistant = line.speaker === "assistant";
        return (
          <li
            key={index}
            class={`said-line${assistant ? " assistant" : ""}${line.interrupted ? " cut" : ""}`}
            data-testid="said"
            data-speaker={line.speaker}
            data-turn={line.turn}
            data-text={line.text}
            data-heard-ms={line.heardMs}
            data-heard={line.heard}
            data-interrupted={String(line.interrupted)}
          >
            <button
              type="button"
              class="said-at num"
              onClick={() => onSeek(line.atMs)}
              aria-label={`Go to ${clock(line.atMs)} in the timeline`}
            >
              {clock(line.atMs)}
            </button>
            <div>
              <p class="said-who">
                {assistant ? "Assistant" : "Caller"}
                {line.turn > 0 && <span class="muted"> · turn {line.turn}</span>}
              </p>
              <Words line={line} />
              {assistant && line.heardMs !== null && (
                <p class={line.interrupted ? "said-cut" : "said-heard muted"}>
                  {line.interrupted
                    ? `interrupted after ${duration(line.heardMs)}`
                    : `heard ${duration(line.heardMs)}`}
                </p>
              )}
            </div>
          </li>
        );
      })}
    </ol>
  );
}

/** All of a line; of an answer that was cut, what its caller did not hear is struck out. */
function Words({ line: { text, heard, final } }: { line: Line }) {
  if (heard === null || heard.length >= text.length || !text.startsWith(heard))
    return <p class={final ? undefined : "muted"}>{text}</p>;
  return (
    <p>
      {heard}
      <span class="said-unheard">
        <span class="visually-hidden"> not heard: </span>
        {text.slice(heard.length)}
      </span>
    </p>
  );
}
