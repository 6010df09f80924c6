/** What can be chosen in a filter. Whoever may not see one of the lists filters without it. */
import { type Pipeline, type RowPage, useQuery } from "../../api";

const PIPELINES = `query FilterPipelines($tenant: String) { pipelines(tenant: $tenant) { name } }`;
const WORKERS = `query FilterWorkers { rows(surface: "workers", first: 200) { items { aggregateId } } }`;

export function useNames(tenant: string | null): { pipelines: string[]; workers: string[] } {
  const pipelines = useQuery<{ pipelines: Pick<Pipeline, "name">[] }>(PIPELINES, { tenant }, ["pipelines"]);
  const workers = useQuery<{ rows: { items: Pick<RowPage["items"][number], "aggregateId">[] } }>(
    WORKERS,
    {},
    ["workers"],
  );
  return {
    pipelines: pipelines.data?.pipelines.map(({ name }) => name) ?? [],
    workers: workers.data?.rows.items.map(({ aggregateId }) => aggregateId) ?? [],
  };
}
