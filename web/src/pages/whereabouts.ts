/** Where in the console a thing of a surface is looked at; what has no page of its own is looked up in the journal. */
import { link } from "../router";

interface Thing {
  surface: string;
  aggregateId: string;
  tenant: string | null;
}

const OF_SESSIONS = ["sessions", "turns", "leases"];
const OF_PROVIDERS = ["provider_health", "circuits"];
const OF_PIPELINES = ["pipelines", "rollouts"];
const OF_WORKERS = ["workers", "recordings", "evidence_export", "external_nodes"];

export function addressOf(thing: Thing): string {
  const { surface, aggregateId, tenant } = thing;
  // What several processes speak of is named `thing@process`; a pipeline's version is `name@version`.
  const [name = "", by] = aggregateId.split("@");
  if (OF_SESSIONS.includes(surface) && tenant !== null)
    return link("/sessions/:tenant/:id", { tenant, id: aggregateId });
  if (OF_PROVIDERS.includes(surface)) return link("/providers", {}, { provider: name });
  if (OF_PIPELINES.includes(surface)) return link("/pipelines/:name", { name });
  if (OF_WORKERS.includes(surface)) return link("/workers", {}, { worker: by ?? name });
  if (surface === "approvals") return link("/actions", {}, { surface });
  if (surface === "runtime_work_session") return link("/manifest/:id", { id: aggregateId });
  return link("/journal", {}, { surface });
}
