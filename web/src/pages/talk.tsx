/** Talk: a call from this browser, with what was said, what was heard, and how fast it went. */
import { link } from "../router";
import { Icon, Note, PageHeader } from "../parts";
import { calling, talk } from "../talk/current";
import { Facts } from "./talk/facts";
import { Lines } from "./talk/lines";
import { Controls, Setup } from "./talk/controls";
import { Strip } from "./talk/strip";
import "./talk/talk.css";

export default function TalkPage() {
  const now = talk.value,
    on = calling.value;
  const { facts } = now;
  return (
    <div
      class="talk"
      data-testid="talk"
      data-state={now.state}
      data-session={now.session}
      data-answer-ms={facts.answerMs}
      data-silent-ms={facts.silentMs}
      data-stop-ms={facts.stopMs}
      data-barge-ins={facts.bargeIns}
      data-gaps={facts.gaps}
      data-reconnects={facts.reconnects}
    >
      <PageHeader
        title="Talk"
        sub="Call a pipeline from this browser: see what it understands, what you hear of its answer, and how fast both are."
      >
        {now.session !== "" && (
          <a
            class="button"
            href={link("/sessions/:tenant/:id", { tenant: now.tenant, id: now.session })}
            data-testid="session-link"
          >
            <Icon name="sessions" size={14} /> Session
          </a>
        )}
      </PageHeader>
      {now.problem !== "" && (
        <div role="alert" data-testid="problem">
          <Note tone="failed">{now.problem}</Note>
        </div>
      )}
      {on ? <Controls /> : <Setup />}
      {(on || now.session !== "") && (
        <>
          <Facts facts={facts} />
          <Strip spans={now.spans} live={on} />
          <Lines lines={now.lines} live={on} wordsOnly={now.wordsOnly} />
        </>
      )}
    </div>
  );
}
