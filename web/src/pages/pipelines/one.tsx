/** One pipeline: the graph of the version that is looked at, all versions, its rollout, and what can be done about it now. */
import { type Action, type Pipeline as Given, useQuery } from "../../api";
import {
  Answer,
  Code,
  type Column,
  Copy,
  Empty,
  Note,
  PageHeader,
  Panel,
  RelativeTime,
  percent,
  Table,
} from "../../parts";
import { Graph } from "../../draw/Graph";
import { link, route, searchFor } from "../../router";
import type { Version } from "../../api";
import { Value } from "../session/value";
import { Shares } from "./shares";
import "../session/session.css";

const PIPELINE = `query Pipeline($name: String!, $version: String) {
  pipeline(name: $name, version: $version) {
    name version versions { version sha256 author createdAtMs share } rollout
    nodes { id type provider inserted } edges { from to port lane condition } text problems
  }
}`;
const ACTIONS = `query PipelineActions { actions { id kind title why surface aggregateId tenant role risk allowed call { cli } } }`;

export function Pipeline({ name }: { name: string }) {
  const version = route.value.search["version"] || null;
  const asked = useQuery<{ pipeline: Given | null }>(PIPELINE, { name, version }, ["pipelines", "rollouts"]);
  return (
    <div class="stack" data-testid="pipeline" data-name={name}>
      <PageHeader
        title={name}
        sub={
          <>
            A pipeline. <a href={link("/pipelines")}>All pipelines</a>
          </>
        }
      >
        <a class="button" href={link("/sessions", {}, { pipeline: name })}>
          Sessions
        </a>
        <a class="button" href={link("/talk", {}, { pipeline: name })}>
          Talk to it
        </a>
      </PageHeader>
      <Answer of={asked} what="the pipeline" lines={8}>
        {({ pipeline }) =>
          pipeline === null ? (
            <Empty title="There is no such pipeline">Or you may not see it.</Empty>
          ) : (
            <Body pipeline={pipeline} />
          )
        }
      </Answer>
    </div>
  );
}

function Body({ pipeline }: { pipeline: Given }) {
  const { name, version, versions, rollout, nodes, edges, text, problems } = pipeline;
  const look = ({ version: other }: Version): void => searchFor({ version: other });
  return (
    <>
      {problems.length > 0 && (
        <Note tone="degraded">
          <ul>
            {problems.map((problem) => (
              <li key={problem}>{problem}</li>
            ))}
          </ul>
        </Note>
      )}
      <Panel
        title={
          <>
            The graph of <code>{version}</code>
          </>
        }
      >
        {nodes.length === 0 ? (
          <Empty title="No graph to draw">{problems[0] ?? "This version has none that can be read."}</Empty>
        ) : (
          <Graph nodes={nodes} edges={edges} label={`Graph of ${name}`} />
        )}
      </Panel>
      <Panel title="Versions" flush>
        <Table
          label="Versions"
          columns={VERSIONS}
          rows={versions}
          keyOf={(one) => one.version}
          onOpen={look}
          chosen={version}
          sorted="-created"
        />
      </Panel>
      <div class="columns">
        <Panel title="Rollout">
          <div class="stack">
            <Shares versions={versions} />
            {rollout === null ? (
              <p class="muted">
                No rollout has begun: callers who name no version get none of this pipeline.
              </p>
            ) : (
              <Value of={rollout} />
            )}
          </div>
        </Panel>
        <Panel title="What can be done">
          <Doable name={name} newest={versions[0]?.version ?? version} />
        </Panel>
      </div>
      {text !== "" && (
        <Panel title="The spec">
          <Code label={`${name} ${version}`} text={text} />
        </Panel>
      )}
    </>
  );
}

/** The actions that are offered now are taken on their own page, with a reason; the rest is a line to paste. */
function Doable({ name, newest }: { name: string; newest: string }) {
  const { data } = useQuery<{
    actions: Pick<Action, "id" | "title" | "why" | "surface" | "aggregateId">[];
  }>(ACTIONS, {}, ["runtime_actions", "rollouts"]);
  const mine =
    data?.actions.filter(
      ({ surface, aggregateId }) =>
        ["rollouts", "pipelines"].includes(surface) && aggregateId.split(/[/@]/).includes(name),
    ) ?? [];
  return (
    <div class="stack">
      {mine.map((action) => (
        <Note key={action.id} tone="notice">
          <p>
            <strong>{action.title}</strong>
          </p>
          <p>
            {action.why} <a href={link("/actions")}>Take it under Actions</a>
          </p>
        </Note>
      ))}
      {mine.length === 0 && <p class="muted">Nothing is offered for it now. These lines do the rest:</p>}
      <Code
        label="Give a version a part of new sessions"
        text={`rspp control rollout canary ${name} --version ${newest} --percent 10 --reason "..."`}
      />
      <Code label="Give it all of them" text={`rspp control rollout promote ${name} --reason "..."`} />
      <Code label="Go back" text={`rspp control rollout rollback ${name} --reason "..."`} />
    </div>
  );
}

const VERSIONS: readonly Column<Version>[] = [
  {
    key: "version",
    title: "Version",
    cell: (one) => <code>{one.version}</code>,
    sort: (one) => one.version,
  },
  {
    key: "share",
    title: "Share",
    cell: (one) => percent(one.share, 0),
    sort: (one) => one.share,
    end: true,
  },
  { key: "author", title: "Author", cell: (one) => one.author, sort: (one) => one.author },
  {
    key: "created",
    title: "Published",
    cell: (one) => <RelativeTime atMs={one.createdAtMs} />,
    sort: (one) => one.createdAtMs,
  },
  {
    key: "sha",
    title: "SHA-256",
    cell: (one) => (
      <span class="nowrap">
        <code title={one.sha256}>{one.sha256.slice(0, 12)}</code> <Copy text={one.sha256} label="Copy" />
      </span>
    ),
    wide: true,
  },
];
