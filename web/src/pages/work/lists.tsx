/** What is missing for PASS, what the last result said, and what must be met before the next step. */
import type { ComponentChildren } from "preact";
import type { WorkSession } from "../../api";
import { Empty, Icon, Panel, plural, StateBadge } from "../../parts";
import { FileRef } from "./ledgers";
import { toneOfStep } from "./read";

export function Missing({ work }: { work: WorkSession }) {
  const { missing } = work;
  // A step that is over either had its proofs, or its result says what it lacked.
  if (missing.length === 0 && work.state !== "running") return null;
  return (
    <Panel
      title="Missing for PASS"
      side={missing.length > 0 && <span class="muted">{plural(missing.length, "thing")}</span>}
      flush
    >
      {missing.length === 0 ? (
        <Empty title="Nothing is missing">
          As far as was told, the step can be closed with PASS.
        </Empty>
      ) : (
        <ul class="points" aria-label="Missing for PASS">
          {missing.map((one, index) => (
            <li key={`${one.code} ${index}`} class="tone-degraded">
              <Icon name="warn" />
              <div>
                <p>
                  <Ticked text={one.what} />
                </p>
                <p class="muted">
                  <Ticked text={one.fix} /> <code>{one.code}</code>
                </p>
              </div>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

export function Requirements({ work }: { work: WorkSession }) {
  if (work.requirements.length === 0) return null;
  const met = work.requirements.filter((one) => one.ref !== "").length;
  return (
    <Panel
      title="Required before the next step"
      side={
        <span class="muted">
          {met} of {work.requirements.length} met
        </span>
      }
      flush
    >
      <ul class="points" aria-label="Requirements">
        {work.requirements.map((one, index) => (
          <li key={`${one.what} ${index}`} class={one.ref === "" ? "tone-degraded" : "tone-ok"}>
            <Icon name={one.ref === "" ? "warn" : "check"} />
            <div>
              <p>
                <Ticked text={one.what} />
              </p>
              {one.ref === "" ? (
                <p class="muted">
                  Open. Meet it where the work is done: <code>rspp manifest resume</code>
                </p>
              ) : (
                <p class="muted">
                  Met by <FileRef text={one.ref} />
                </p>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

export function LastResult({ work }: { work: WorkSession }) {
  const { result } = work;
  return (
    <Panel
      title="Last result"
      side={<StateBadge state={result.status} tone={toneOfStep(result.status)} />}
    >
      {result.status === "NONE" ? (
        <p class="muted">No step of this session has ended yet.</p>
      ) : (
        <dl class="facts">
          {result.code !== "" && (
            <Fact name="Code">
              <code>{result.code}</code>
            </Fact>
          )}
          {result.reasons.length > 0 && (
            <Fact name="Reasons">
              <Lines of={result.reasons} />
            </Fact>
          )}
          {result.fixes.length > 0 && (
            <Fact name="To be mended">
              <Lines of={result.fixes} />
            </Fact>
          )}
          <Fact name="Report">
            <FileRef text={result.report} />
          </Fact>
          {result.pack !== "" && (
            <Fact name="Package">
              <FileRef text={result.pack} />
            </Fact>
          )}
        </dl>
      )}
    </Panel>
  );
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Lines({ of }: { of: readonly string[] }) {
  return (
    <ul class="said">
      {of.map((one, index) => (
        <li key={index}>
          <Ticked text={one} />
        </li>
      ))}
    </ul>
  );
}

/** Words in which what stands between backticks is code. */
function Ticked({ text }: { text: string }) {
  return <>{text.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}
