/** The last minute of a call as one strip: who had the floor, and when. */
import { useEffect, useState } from "preact/hooks";
import { Panel } from "../../parts";
import type { Span, State } from "../../talk/conversation";
import { stripOf, WINDOW_MS } from "../../talk/strip";

const MOVES_EVERY_MS = 250;
const WIDE = 1000,
  HIGH = 26;
const NAMES: Readonly<Partial<Record<State, string>>> = {
  hearing: "you speak",
  thinking: "it thinks",
  speaking: "it answers",
  paused: "paused",
  reconnecting: "line lost",
};

export function Strip({ spans, live }: { spans: readonly Span[]; live: boolean }) {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    setNow(performance.now());
    if (!live) return undefined;
    const timer = setInterval(() => setNow(performance.now()), MOVES_EVERY_MS);
    return () => clearInterval(timer);
  }, [live]);
  const end = live ? now : (spans.at(-1)?.fromMs ?? now);
  const pieces = stripOf(spans, Math.max(end, spans.at(-1)?.fromMs ?? end));
  return (
    <Panel title="The last minute" side={<Legend />}>
      <svg
        class="talk-strip"
        viewBox={`0 0 ${WIDE} ${HIGH}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={said(pieces)}
      >
        <rect class="strip-ground" width={WIDE} height={HIGH} />
        {pieces.map(({ state, from, to }) => (
          <rect
            key={`${state}${from}`}
            class={`strip-${state}`}
            x={from * WIDE}
            width={Math.max(1, (to - from) * WIDE)}
            height={HIGH}
          />
        ))}
      </svg>
      <p class="talk-strip-scale muted" aria-hidden="true">
        <span>{WINDOW_MS / 1000} s ago</span>
        <span>now</span>
      </p>
    </Panel>
  );
}

function Legend() {
  return (
    <ul class="talk-legend" aria-hidden="true">
      {Object.entries(NAMES).map(([state, name]) => (
        <li key={state}>
          <span class={`strip-mark strip-${state}`} />
          {name}
        </li>
      ))}
    </ul>
  );
}

function said(pieces: readonly { state: State; from: number; to: number }[]): string {
  const sums = Object.entries(NAMES).map(([state, name]) => {
    const share = pieces
      .filter((piece) => piece.state === state)
      .reduce((sum, { from, to }) => sum + to - from, 0);
    return share > 0 ? `${name} ${((share * WINDOW_MS) / 1000).toFixed(0)} s` : "";
  });
  return `In the last minute: ${sums.filter(Boolean).join(", ") || "nothing"}`;
}
