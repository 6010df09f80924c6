/** The transcript of a call, both sides; what was not heard of an answer is struck out. */
import { useEffect, useRef } from "preact/hooks";
import { duration, Empty, Panel } from "../../parts";
import { heardPart, type TalkLine } from "../../talk/conversation";

const NEAR_THE_END_PX = 80;

export function Lines({
  lines,
  live,
  wordsOnly,
}: {
  lines: readonly TalkLine[];
  live: boolean;
  wordsOnly: boolean;
}) {
  const box = useRef<HTMLDivElement>(null);
  const stays = useRef(true);
  const words = lines.reduce((sum, line) => sum + line.text.length, 0);
  useEffect(() => {
    if (stays.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [words, lines.length]);
  const scrolled = (): void => {
    const { scrollHeight = 0, scrollTop = 0, clientHeight = 0 } = box.current ?? {};
    stays.current = scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX;
  };
  return (
    <Panel title="Transcript" flush>
      <div
        class="talk-lines"
        ref={box}
        onScroll={scrolled}
        tabIndex={0}
        role="log"
        aria-label="Transcript of this call"
      >
        {lines.length === 0 && (
          <Empty title="Nothing said yet">
            {live ? "Say something, or type it." : "This call had no words."}
          </Empty>
        )}
        <ol>
          {lines
            .filter((line) => line.text !== "")
            .map((line) => (
              <Line key={line.id} line={line} wordsOnly={wordsOnly} />
            ))}
        </ol>
      </div>
    </Panel>
  );
}

function Line({ line, wordsOnly }: { line: TalkLine; wordsOnly: boolean }) {
  const { heard, rest } = heardPart(line, wordsOnly);
  const assistant = line.role === "assistant";
  return (
    <li
      class={`talk-line ${line.role}${line.interrupted ? " cut" : ""}`}
      data-testid="line"
      data-role={line.role}
      data-turn={line.turnId}
      data-text={line.text}
      data-heard={heard}
      data-heard-ms={Math.round(line.heardMs)}
      data-sent-ms={Math.round(line.sentMs)}
      data-interrupted={String(line.interrupted)}
      data-failed={line.failed}
      data-final={String(line.final)}
      data-done={String(line.done)}
    >
      <p class="talk-who">{assistant ? "Assistant" : "You"}</p>
      <p class={line.final ? undefined : "talk-open"}>
        {heard}
        {rest !== "" && (
          <span class={line.done ? "talk-unheard" : "talk-coming"}>
            {" "}
            {line.done && <span class="visually-hidden">not heard: </span>}
            {rest}
          </span>
        )}
      </p>
      {assistant && (line.interrupted || line.failed !== "") && (
        <p class="talk-note">
          {line.failed !== ""
            ? `failed: ${line.failed}`
            : `interrupted, heard ${duration(line.heardMs)} of ${duration(line.sentMs)}`}
        </p>
      )}
    </li>
  );
}
