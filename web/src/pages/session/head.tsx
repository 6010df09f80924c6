/** What one asks first of a session: in what state, whose, since when, with what. */
import type { JsonMap } from "../../api";
import { brief, count, DASH, Note, RelativeTime } from "../../parts";
import { calling, hangUp, talk } from "../../talk/current";
import { link } from "../../router";
import type { HeadGiven } from "../session";

export function Head({
  head: { item, recordedLevel },
  resolved,
}: {
  head: HeadGiven;
  resolved: JsonMap | null;
}) {
  const [name, shown] = pipelineOf(item.pipeline, resolved);
  const facts: [string, preact.ComponentChildren][] = [
    ["State since", <RelativeTime atMs={item.sinceMs} />],
    ["Opened", <RelativeTime atMs={item.openedMs} />],
    ["Pipeline", name ? <a href={link("/pipelines/:name", { name })}>{shown}</a> : item.pipeline || DASH],
    ["Policy", policyOf(resolved) || DASH],
    [
      "Worker",
      item.owner ? (
        <a href={link("/sessions", {}, { worker: item.owner })} title={item.owner}>
          {brief(item.owner)}
        </a>
      ) : (
        DASH
      ),
    ],
    ["Region", item.region || DASH],
    ["Epoch", item.epoch > 0 ? count(item.epoch) : DASH],
    ["Line", item.line || DASH],
    ["Turns", count(item.turns)],
    ["Recorded", item.recorded ? recordedLevel || "yes" : recordedLevel || "no"],
  ];
  return (
    <section class="panel session-head" aria-label="What is known of it">
      <dl>
        {facts.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {item.reason !== "" && (
        <p class="muted">
          Reason: <code>{item.reason}</code>
        </p>
      )}
    </section>
  );
}

/** Its name, and that with its version; a lease may bear the version alone, and then the record knows the name. */
function pipelineOf(told: string, resolved: JsonMap | null): [string, string] {
  const known = resolved?.["pipeline"],
    version = resolved?.["version"];
  if (typeof known === "string" && known) return [known, `${known}@${String(version ?? "")}`];
  const plain = told.replace(/^graph\//, "");
  return plain.includes("@") ? [plain.split("@", 1)[0] ?? "", plain] : ["", plain];
}

/** The policy's snapshot that the last turn's plan was made under, as the record names it. */
function policyOf(resolved: JsonMap | null): string {
  const turns = resolved?.["turns"];
  const last = Array.isArray(turns) ? turns.at(-1) : null;
  const snapshots = last && typeof last === "object" && !Array.isArray(last) ? last["snapshots"] : null;
  if (!snapshots || typeof snapshots !== "object" || Array.isArray(snapshots)) return "";
  const found = Object.entries(snapshots).find(([name]) => name.includes("policy"));
  return typeof found?.[1] === "string" ? found[1] : "";
}

/** The call that this very page holds: it can be ended from here. */
export function MyCall({ id }: { id: string }) {
  if (!calling.value || talk.value.session !== id) return null;
  return (
    <Note tone="ok">
      <div class="row">
        <p>
          You are in this call. <a href={link("/talk")}>Back to it</a>
        </p>
        <button type="button" class="button small" onClick={hangUp}>
          Hang up
        </button>
      </div>
    </Note>
  );
}
