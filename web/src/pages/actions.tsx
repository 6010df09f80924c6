/** Everything that can be done now: why it is offered, what it risks, who may, and how to do it from elsewhere. */
import { type Action, useQuery } from "../api";
import {
  Answer,
  brief,
  Empty,
  Filters,
  named,
  PageHeader,
  plural,
  SearchField,
  Select,
  StateBadge,
} from "../parts";
import { link, route, searchFor } from "../router";
import { ACTION_FIELDS, ActionButton, Calls, RiskBadge, titleOf } from "./taking";
import { addressOf } from "./whereabouts";

const ACTIONS = `query Actions { actions { ${ACTION_FIELDS} } }`;

export default function Actions() {
  const asked = useQuery<{ actions: Action[] }>(ACTIONS, {}, ["runtime_actions", "runtime_health"]);
  return (
    <>
      <PageHeader
        title="Actions"
        sub="What the present health offers to do. Each taking is put on record with its reason."
      />
      <Answer of={asked} what="actions">
        {({ actions }) =>
          actions.length === 0 ? <Nothing /> : <Offers actions={actions} onDone={asked.refetch} />
        }
      </Answer>
    </>
  );
}

function Nothing() {
  return (
    <div class="panel">
      <Empty title="There is nothing to do">
        Actions are offered when something is not as it should be. How things are stands on the{" "}
        <a href={link("/")}>overview</a>.
      </Empty>
    </div>
  );
}

function Offers({ actions, onDone }: { actions: Action[]; onDone: () => void }) {
  const { text = "", risk = "", surface = "" } = route.value.search;
  const shown = actions.filter(
    (one) =>
      (risk === "" || one.risk === risk) &&
      (surface === "" || one.surface === surface) &&
      `${one.title} ${one.why} ${one.kind}`.toLowerCase().includes(text.toLowerCase()),
  );
  const surfaces = [...new Set(actions.map((one) => one.surface))].sort();
  return (
    <>
      <Filters
        said={
          shown.length === actions.length
            ? plural(actions.length, "action")
            : `${shown.length} of ${plural(actions.length, "action")}`
        }
      >
        <SearchField label="Find an action" value={text} onInput={(value) => searchFor({ text: value })} />
        <Select
          label="Risk"
          value={risk}
          all="Any"
          choices={["low", "medium", "high"]}
          onChange={(value) => searchFor({ risk: value })}
        />
        <Select
          label="Surface"
          value={surface}
          all="All"
          choices={surfaces.map((one) => ({ value: one, title: named(one) }))}
          onChange={(value) => searchFor({ surface: value })}
        />
      </Filters>
      {shown.length === 0 ? (
        <div class="panel">
          <Empty title="No action fits these filters" />
        </div>
      ) : (
        <ul class="stack">
          {shown.map((action) => (
            <li key={action.id}>
              <Offer action={action} onDone={onDone} />
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Offer({ action, onDone }: { action: Action; onDone: () => void }) {
  return (
    <article class="panel offer" aria-label={action.title}>
      <div class="offer-head">
        <div class="offer-text">
          <h2>{titleOf(action)}</h2>
          <p class="muted">{action.why}</p>
          <p class="row">
            <a href={addressOf(action)} title={action.aggregateId}>
              {named(action.surface)}: {brief(action.aggregateId)}
            </a>
            {action.tenant !== null && <StateBadge state={action.tenant} />}
            <RiskBadge risk={action.risk} />
            <StateBadge state={`role: ${action.role}`} />
            {!action.allowed && <StateBadge state="you may not" tone="notice" />}
          </p>
        </div>
        <ActionButton action={action} onDone={onDone} />
      </div>
      <details>
        <summary>Do it from elsewhere</summary>
        <Calls action={action} />
      </details>
    </article>
  );
}
