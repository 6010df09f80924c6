/** Pipelines: what is published and rolled out; and one of them with its graph, its versions and what can be done now. */
import { useState } from "preact/hooks";
import { type Pipeline as Given, session, useQuery } from "../api";
import {
  Answer,
  type Column,
  count,
  DASH,
  Empty,
  Filters,
  PageHeader,
  Panel,
  plural,
  RelativeTime,
  SearchField,
  Select,
  StateBadge,
  Table,
} from "../parts";
import { link, route, searchFor } from "../router";
import type { PageProps } from "./index";
import { Pipeline } from "./pipelines/one";
import { Rollout, Shares } from "./pipelines/shares";
import "./pipelines/pipelines.css";

type Listed = Pick<Given, "name" | "version" | "versions" | "rollout" | "problems">;
const PIPELINES = `query Pipelines($tenant: String) {
  pipelines(tenant: $tenant) { name version versions { version sha256 author createdAtMs share } rollout problems }
}`;

export default function Pipelines({ params }: PageProps) {
  const name = params["name"];
  return name === undefined ? <List /> : <Pipeline name={name} />;
}

function List() {
  const { search } = route.value;
  const [text, setText] = useState("");
  const tenant = search["tenant"] || null;
  const asked = useQuery<{ pipelines: Listed[] }>(PIPELINES, { tenant }, ["pipelines", "rollouts"]);
  const tenants = session.value.me?.tenants ?? [];
  return (
    <div class="stack">
      <PageHeader title="Pipelines" sub="What is published, and which version new sessions get." />
      <Filters {...(asked.data ? { said: plural(asked.data.pipelines.length, "pipeline") } : {})}>
        <SearchField label="Find a pipeline" placeholder="Name" value={text} onInput={setText} />
        {tenants.length > 1 && (
          <Select
            label="As seen by"
            value={tenant ?? ""}
            onChange={(value) => searchFor({ tenant: value })}
            choices={tenants}
            all="Everybody"
          />
        )}
      </Filters>
      <Answer of={asked} what="pipelines">
        {({ pipelines }) => {
          const rows = pipelines.filter(({ name }) => name.toLowerCase().includes(text.trim().toLowerCase()));
          return rows.length === 0 ? (
            <Empty title={pipelines.length === 0 ? "Nothing is published yet" : "No pipeline is called that"}>
              {pipelines.length === 0 && (
                <>
                  Publish one: <code>rspp control pipelines publish pipeline.yaml</code>. What{" "}
                  <code>rspp serve --pipeline</code> has from files is served, and not listed here.
                </>
              )}
            </Empty>
          ) : (
            <Panel flush>
              <Table
                label="Pipelines"
                columns={COLUMNS}
                rows={rows}
                keyOf={({ name }) => name}
                href={({ name }) => link("/pipelines/:name", { name })}
                sorted="name"
              />
            </Panel>
          );
        }}
      </Answer>
    </div>
  );
}

const newest = ({ versions }: Listed): number => Math.max(0, ...versions.map((one) => one.createdAtMs));

const COLUMNS: readonly Column<Listed>[] = [
  { key: "name", title: "Pipeline", cell: ({ name }) => name, sort: ({ name }) => name },
  { key: "version", title: "Version", cell: ({ version }) => version || DASH },
  { key: "shares", title: "New sessions get", cell: ({ versions }) => <Shares versions={versions} /> },
  {
    key: "rollout",
    title: "Rollout",
    cell: ({ rollout }) => <Rollout of={rollout} />,
    wide: true,
  },
  {
    key: "versions",
    title: "Versions",
    cell: ({ versions }) => count(versions.length),
    sort: ({ versions }) => versions.length,
    end: true,
    wide: true,
  },
  {
    key: "newest",
    title: "Newest",
    cell: (row) => <RelativeTime atMs={newest(row)} />,
    sort: newest,
    wide: true,
  },
  {
    key: "problems",
    title: "Problems",
    cell: ({ problems }) =>
      problems.length ? (
        <StateBadge state={plural(problems.length, "problem")} tone="degraded" />
      ) : (
        <span class="muted">none</span>
      ),
    wide: true,
  },
];
