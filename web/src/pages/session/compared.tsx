/** Two recordings side by side, as far as they differ. */
import type { DiffResult } from "../../api";
import { Note, plural, StateBadge, type Tone } from "../../parts";
import { causesOf, type Cause, type Difference, type Side } from "./differences";

const TONES: Readonly<Record<string, Tone>> = { plan: "accent", outcome: "degraded", ordering: "notice" };

export function Compared({ is, other }: { is: DiffResult; other: string }) {
  return (
    <div class="stack" data-testid="compared" data-same={String(is.same)}>
      <Note tone={is.same ? "ok" : "notice"}>
        <p>
          <strong>{is.same ? "No difference" : "They differ"}</strong> from <code>{other}</code>: {is.message}
          .
        </p>
      </Note>
      <ol class="differences">
        {causesOf(is.differences).map((cause) => (
          <Told key={cause.number} of={cause} />
        ))}
      </ol>
    </div>
  );
}

function Told({ of: cause }: { of: Cause }) {
  return (
    <li class="difference" data-testid="difference">
      <Line of={cause} />
      <dl class="difference-sides">
        <Said name="Here" of={cause.here} />
        <Said name="There" of={cause.there} />
      </dl>
      {cause.follows.length > 0 && (
        <details class="folded">
          <summary>
            {plural(cause.follows.length, "difference follows", "differences follow")} from it
          </summary>
          <ul class="difference-more">
            {cause.follows.map((one) => (
              <li key={one.number}>
                <Line of={one} />
              </li>
            ))}
          </ul>
        </details>
      )}
    </li>
  );
}

function Line({ of: { kind, where, message } }: { of: Difference }) {
  return (
    <p class="difference-line">
      <StateBadge state={kind} tone={TONES[kind] ?? "plain"} />
      <span>{message}</span>
      <span class="muted">{where}</span>
    </p>
  );
}

function Said({ name, of: { line, value } }: { name: string; of: Side }) {
  return (
    <div>
      <dt class="muted">{name}</dt>
      <dd>
        {value !== "" && <code>{value}</code>}
        {line !== "" && <code class="muted">{line}</code>}
        {value === "" && line === "" && <span class="muted">not there</span>}
      </dd>
    </div>
  );
}
