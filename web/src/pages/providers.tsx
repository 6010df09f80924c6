/** Every provider: does it answer, how fast, is its circuit closed, and what does it cost. */
import { type Action, type Provider, useQuery } from "../api";
import {
  Answer,
  Bar,
  type Column,
  count,
  DASH,
  Dialog,
  duration,
  Empty,
  Filters,
  kindOf,
  LevelBadge,
  named,
  PageHeader,
  Panel,
  percent,
  plural,
  SearchField,
  Select,
  severityOf,
  Stat,
  StateBadge,
  Table,
  type Tone,
} from "../parts";
import { link, route, searchFor } from "../router";
import { ACTION_FIELDS, ActionButton } from "./taking";

const PROVIDERS = `query Providers { providers {
  name modality state circuit level availability p50Ms p95Ms calls failures price workers reason } }`;
const ACTIONS = `query ProviderActions { actions { ${ACTION_FIELDS} } }`;
const CIRCUIT_TONES: Readonly<Record<string, Tone>> = {
  "open for some": "degraded",
  closed: "plain",
  half_open: "degraded",
  open: "failed",
};

export default function Providers() {
  const asked = useQuery<{ providers: Provider[] }>(PROVIDERS, {}, ["provider_health", "circuits"]);
  const actions = useQuery<{ actions: Action[] }>(ACTIONS, {}, ["runtime_actions", "runtime_health"]);
  const offered = (actions.data?.actions ?? []).filter((one) =>
    ["provider_health", "circuits"].includes(one.surface),
  );
  return (
    <>
      <PageHeader title="Providers" sub="The models and services that pipelines call" />
      <Answer of={asked} what="providers" lines={6}>
        {({ providers }) => <Called providers={providers} actions={offered} onDone={actions.refetch} />}
      </Answer>
    </>
  );
}

function Called({
  providers,
  actions,
  onDone,
}: {
  providers: Provider[];
  actions: Action[];
  onDone: () => void;
}) {
  const { text = "", modality = "", provider = "" } = route.value.search;
  if (providers.length === 0) {
    return (
      <Panel>
        <Empty title="No provider has been called">
          Providers appear when a published pipeline names them. See{" "}
          <a href={link("/pipelines")}>pipelines</a>.
        </Empty>
      </Panel>
    );
  }
  const shown = providers.filter(
    (one) => (modality === "" || one.modality === modality) && one.name.includes(text),
  );
  const looked = providers.find((one) => one.name === provider);
  const kinds = [...new Set(providers.map((one) => one.modality))].sort();
  return (
    <>
      <Totals providers={providers} />
      <Filters said={`${shown.length} of ${plural(providers.length, "provider")}`}>
        <SearchField label="Find a provider" value={text} onInput={(value) => searchFor({ text: value })} />
        <Select
          label="Kind"
          value={modality}
          all="All"
          choices={kinds.map((one) => ({ value: one, title: kindOf(one) }))}
          onChange={(value) => searchFor({ modality: value })}
        />
      </Filters>
      <Panel flush>
        {shown.length === 0 ? (
          <Empty title="No provider fits these filters" />
        ) : (
          <Table
            label="Providers"
            columns={COLUMNS.filter(
              ({ key }) => key !== "price" || providers.some((one) => one.price !== null),
            )}
            rows={shown}
            keyOf={(one) => one.name}
            onOpen={(one) => searchFor({ provider: one.name })}
            sorted="-level"
            chosen={provider}
          />
        )}
      </Panel>
      {looked !== undefined && <Closely provider={looked} actions={actions} onDone={onDone} />}
    </>
  );
}

function Totals({ providers }: { providers: Provider[] }) {
  const calls = providers.reduce((total, one) => total + one.calls, 0);
  const failures = providers.reduce((total, one) => total + one.failures, 0);
  const unknown = providers.filter((one) => one.state === "unknown").length;
  const open = providers.filter((one) => one.circuit !== "closed" && one.circuit !== "").length;
  return (
    <div class="stats">
      <Stat
        label="Well"
        value={`${providers.filter((one) => one.level === "OK" && one.state !== "unknown").length} / ${providers.length}`}
        sub={unknown > 0 ? `${count(unknown)} not measured yet` : "providers"}
      />
      <Stat label="Circuits not closed" value={count(open)} sub="these are called less or not at all" />
      <Stat label="Calls" value={count(calls)} sub="since the workers began" />
      <Stat
        label="Failed"
        value={calls > 0 ? percent(failures / calls, 2) : DASH}
        sub={plural(failures, "call")}
      />
    </div>
  );
}

const COLUMNS: readonly Column<Provider>[] = [
  { key: "name", title: "Provider", cell: (one) => one.name, sort: (one) => one.name },
  {
    key: "level",
    title: "Health",
    cell: (one) => <State provider={one} />,
    sort: (one) => severityOf(one.level),
  },
  {
    key: "kind",
    title: "Kind",
    cell: (one) => kindOf(one.modality),
    sort: (one) => one.modality,
    wide: true,
  },
  {
    key: "circuit",
    title: "Circuit",
    cell: (one) => <Circuit circuit={one.circuit} />,
    sort: (one) => one.circuit,
  },
  {
    key: "availability",
    title: "Availability",
    cell: (one) => <Availability provider={one} />,
    sort: (one) => one.availability,
    wide: true,
  },
  {
    key: "p50",
    title: "p50",
    cell: (one) => duration(one.p50Ms),
    sort: (one) => one.p50Ms,
    end: true,
    wide: true,
  },
  { key: "p95", title: "p95", cell: (one) => duration(one.p95Ms), sort: (one) => one.p95Ms, end: true },
  {
    key: "calls",
    title: "Calls",
    cell: (one) => count(told(one, one.calls)),
    sort: (one) => told(one, one.calls),
    end: true,
    wide: true,
  },
  {
    key: "failures",
    title: "Failed",
    cell: (one) => count(told(one, one.failures)),
    sort: (one) => told(one, one.failures),
    end: true,
    wide: true,
  },
  {
    key: "price",
    title: "Price",
    cell: (one) => price(one),
    sort: (one) => one.price,
    end: true,
    wide: true,
  },
];

/** Of whom nobody has told anything, nobody may say that it is well. */
function State({ provider: { level, state } }: { provider: Provider }) {
  if (level === "OK" && state === "unknown") return <StateBadge state="Not measured yet" />;
  return <LevelBadge level={level} label={named(state)} />;
}

/** A figure that workers tell; null while none of them has. */
function told({ workers }: Provider, figure: number): number | null {
  return workers > 0 ? figure : null;
}

function Circuit({ circuit }: { circuit: string }) {
  return circuit === "" ? (
    <span class="muted">{DASH}</span>
  ) : (
    <StateBadge state={circuit.replace(/_/g, " ")} tone={CIRCUIT_TONES[circuit] ?? "plain"} />
  );
}

function Availability({ provider: { availability, name, level } }: { provider: Provider }) {
  if (availability === null) return <span class="muted">not told</span>;
  const tone = level === "OK" ? "ok" : level === "FAILED" ? "failed" : "degraded";
  return (
    <Bar
      value={availability}
      max={1}
      label={`Availability of ${name}`}
      text={percent(availability, 2)}
      tone={tone}
    />
  );
}

function Closely({
  provider,
  actions,
  onDone,
}: {
  provider: Provider;
  actions: Action[];
  onDone: () => void;
}) {
  const close = (): void => searchFor({ provider: null });
  const mine = actions.filter((one) => one.call.path.includes(`/${encodeURIComponent(provider.name)}/`));
  return (
    <Dialog title={provider.name} onClose={close}>
      <p class="row">
        <State provider={provider} />
        <Circuit circuit={provider.circuit} />
        <StateBadge state={kindOf(provider.modality)} />
        {provider.reason !== "" && <code>{provider.reason}</code>}
      </p>
      <dl class="facts">
        <Fact name="Availability" value={percent(provider.availability, 2)} />
        <Fact name="Latency" value={`p50 ${duration(provider.p50Ms)}, p95 ${duration(provider.p95Ms)}`} />
        <Fact
          name="Calls"
          value={
            told(provider, provider.calls) === null
              ? "no worker has told"
              : `${count(provider.calls)}, of which ${count(provider.failures)} failed`
          }
        />
        {provider.price !== null && (
          <Fact name="Price" value={`${price(provider)}, in the unit of the pipelines' own tables`} />
        )}
        <Fact name="Called by" value={plural(provider.workers, "worker")} />
      </dl>
      {mine.map((action) => (
        <ActionButton key={action.id} action={action} onDone={onDone} wide />
      ))}
      <div class="dialog-buttons">
        <button type="button" class="button" onClick={close}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function price(provider: Provider): string {
  return provider.price === null ? DASH : provider.price.toLocaleString("en", { maximumFractionDigits: 4 });
}
