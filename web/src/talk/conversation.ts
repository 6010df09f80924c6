/**
 * What the Talk page shows of a call, as a pure function of what happened: `talk = happened(talk, event, atMs)`.
 *
 * Times are `performance.now()`. A line of the assistant's is one turn; a line of the caller's is one utterance, whose words
 * change until they are final.
 */

import type { Caption, Playback, ServerMessage, Told } from "./messages";

export type State =
  | "off"
  | "microphone"
  | "connecting"
  | "listening"
  | "hearing"
  | "thinking"
  | "speaking"
  | "paused"
  | "reconnecting";

export interface TalkLine {
  id: number;
  role: "user" | "assistant";
  text: string;
  /** The turn of an assistant's line; "" of a caller's. */
  turnId: string;
  /** The utterance of a caller's spoken line; null of any other. */
  segment: number | null;
  atMs: number;
  final: boolean;
  interrupted: boolean;
  failed: string;
  /** How much of its sound was played here, and how much came. */
  heardMs: number;
  sentMs: number;
  done: boolean;
}

export interface Span {
  state: State;
  fromMs: number;
}

export interface Facts {
  /** From the caller's last loud moment to the first sound of the answer. */
  answerMs: number | null;
  /** From the first loud moment of the speech that interrupted to silence. */
  silentMs: number | null;
  /** From the signal to be silent to silence. */
  stopMs: number | null;
  bargeIns: number;
  gaps: number;
  dropped: number;
  reconnects: number;
}

export interface Talk {
  state: State;
  tenant: string;
  session: string;
  /** A call in words alone: what is shown is read, and nothing is heard. */
  wordsOnly: boolean;
  lines: readonly TalkLine[];
  spans: readonly Span[];
  facts: Facts;
  problem: string;
  /** The turn that each ordinal of a frame means. */
  turns: Readonly<Record<number, string>>;
  lastId: number;
}

export type Event =
  | { kind: "begun"; tenant: string; wordsOnly: boolean }
  | { kind: "state"; state: State }
  | { kind: "message"; message: ServerMessage }
  | { kind: "typed"; text: string }
  | { kind: "sound"; turn: number; ms: number }
  | { kind: "heard"; turn: number; heardMs: number; completed: boolean }
  | { kind: "fact"; name: "answerMs" | "silentMs" | "stopMs"; ms: number }
  | { kind: "count"; name: "gaps" | "dropped" | "reconnects" }
  | { kind: "problem"; problem: string };

const LINES_MAX = 400;
const SPANS_MAX = 400;
const TURNS_MAX = 64; // ordinals of turns whose sound may still come

const NO_FACTS: Facts = {
  answerMs: null,
  silentMs: null,
  stopMs: null,
  bargeIns: 0,
  gaps: 0,
  dropped: 0,
  reconnects: 0,
};
export const NO_TALK: Talk = {
  state: "off",
  tenant: "",
  session: "",
  wordsOnly: false,
  lines: [],
  spans: [],
  facts: NO_FACTS,
  problem: "",
  turns: {},
  lastId: 0,
};

export function happened(talk: Talk, event: Event, atMs: number): Talk {
  switch (event.kind) {
    case "begun":
      return { ...NO_TALK, tenant: event.tenant, wordsOnly: event.wordsOnly };
    case "state":
      return inState(talk, event.state, atMs);
    case "message":
      return told(talk, event.message, atMs);
    case "typed":
      return withLine(talk, { role: "user", text: event.text, turnId: "", segment: null, final: true }, atMs);
    case "sound":
      return changed(talk, ofTurn(talk, event.turn), (line) => ({ sentMs: line.sentMs + event.ms }));
    case "heard":
      return changed(talk, ofTurn(talk, event.turn), (line) => ({
        heardMs: Math.max(line.heardMs, event.heardMs),
        done: line.done || event.completed,
      }));
    case "fact":
      return { ...talk, facts: { ...talk.facts, [event.name]: Math.round(event.ms) } };
    case "count":
      return counted(talk, event.name);
    case "problem":
      return { ...talk, problem: event.problem };
  }
}

function told(talk: Talk, message: ServerMessage, atMs: number): Talk {
  switch (message.type) {
    case "welcome":
      return inState(
        { ...welcomed(talk, message.moved), session: message.session, problem: "" },
        "listening",
        atMs,
      );
    case "text":
      return captioned(talk, message, atMs);
    case "playback":
      return played(talk, message, atMs);
    case "signal":
      return signalled(talk, message, atMs);
    case "error":
      return { ...talk, problem: `${message.message} (${message.code})` };
    case "goodbye":
      return message.code === "normal" ? talk : { ...talk, problem: message.reason };
  }
}

/** Another process counts utterances anew: its first one is none of those that there were. */
function welcomed(talk: Talk, moved: boolean): Talk {
  return moved ? { ...talk, lines: talk.lines.map((line) => ({ ...line, segment: null })) } : talk;
}

function captioned(talk: Talk, { role, text, turnId, segment, final }: Caption, atMs: number): Talk {
  const words = text.trim();
  if (!words) return talk;
  if (role === "assistant") {
    const line = talk.lines.find((one) => one.role === "assistant" && one.turnId === turnId);
    if (!line) return withLine(talk, { role, text: words, turnId, segment: null, final: true }, atMs);
    return changed(talk, line.id, () => ({ text: `${line.text} ${words}`.trim() }));
  }
  const open = talk.lines.find((one) => one.segment === segment);
  if (open) return changed(talk, open.id, () => ({ text: words, final }));
  return withLine(talk, { role: "user", text: words, turnId: "", segment, final }, atMs);
}

function played(talk: Talk, { action, turnId, turn }: Playback, atMs: number): Talk {
  if (action === "start") {
    const kept = Object.entries(talk.turns).slice(-(TURNS_MAX - 1));
    const known = talk.lines.some((one) => one.turnId === turnId);
    const next = { ...talk, turns: Object.fromEntries([...kept, [turn, turnId]]) };
    return known
      ? next
      : withLine(next, { role: "assistant", text: "", turnId, segment: null, final: true }, atMs);
  }
  if (action === "pause") return inState(talk, "paused", atMs);
  if (action === "resume") return inState(talk, "speaking", atMs);
  return talk.state === "speaking" || talk.state === "paused" ? inState(talk, "listening", atMs) : talk;
}

function signalled(talk: Talk, { signal, turnId, reason, detail }: Told, atMs: number): Talk {
  const line = talk.lines.find((one) => one.turnId !== "" && one.turnId === turnId)?.id ?? 0;
  switch (signal) {
    case "speech_started":
      return talk.state === "listening" || talk.state === "thinking" ? inState(talk, "hearing", atMs) : talk;
    case "speech_stopped":
      return talk.state === "hearing" ? inState(talk, "listening", atMs) : talk;
    case "turn_open":
      return inState(talk, "thinking", atMs);
    case "commit":
      return committed(talk, line, atMs);
    case "playback_cancelled":
      return cancelled(talk, line, reason, Number(detail["heard_ms"] ?? 0));
    case "abort":
      return aborted(talk, line, reason, atMs);
    default:
      return talk;
  }
}

/** Generation is over. Where nothing is to be heard, the turn is, too. */
function committed(talk: Talk, line: number, atMs: number): Talk {
  const next = talk.wordsOnly ? changed(talk, line, () => ({ done: true })) : talk;
  return talk.wordsOnly && talk.state === "thinking" ? inState(next, "listening", atMs) : next;
}

function cancelled(talk: Talk, line: number, reason: string, heardMs: number): Talk {
  const next = changed(talk, line, (one) => ({
    interrupted: one.interrupted || reason === "barge_in",
    done: true,
    heardMs: one.heardMs || heardMs,
  }));
  return reason === "barge_in"
    ? { ...next, facts: { ...next.facts, bargeIns: next.facts.bargeIns + 1 } }
    : next;
}

/** Taken back by the caller is no failure; everything else is shown at the turn, and as the page's problem. */
function aborted(talk: Talk, line: number, reason: string, atMs: number): Talk {
  const next = talk.state === "thinking" ? inState(talk, "listening", atMs) : talk;
  if (["cancelled", "barge_in", "superseded", "speculation_discarded"].includes(reason)) return next;
  return {
    ...changed(next, line, () => ({ failed: reason, done: true })),
    problem: `This turn failed: ${reason}.`,
  };
}

function inState(talk: Talk, state: State, atMs: number): Talk {
  if (talk.state === state) return talk;
  return { ...talk, state, spans: [...talk.spans, { state, fromMs: atMs }].slice(-SPANS_MAX) };
}

function withLine(
  talk: Talk,
  line: Pick<TalkLine, "role" | "text" | "turnId" | "segment" | "final">,
  atMs: number,
): Talk {
  const id = talk.lastId + 1;
  const made: TalkLine = {
    ...line,
    id,
    atMs,
    interrupted: false,
    failed: "",
    heardMs: 0,
    sentMs: 0,
    done: false,
  };
  return { ...talk, lastId: id, lines: [...talk.lines, made].slice(-LINES_MAX) };
}

function changed(talk: Talk, id: number, change: (line: TalkLine) => Partial<TalkLine>): Talk {
  if (!id) return talk;
  return {
    ...talk,
    lines: talk.lines.map((line) => (line.id === id ? { ...line, ...change(line) } : line)),
  };
}

function counted(talk: Talk, name: "gaps" | "dropped" | "reconnects"): Talk {
  return { ...talk, facts: { ...talk.facts, [name]: talk.facts[name] + 1 } };
}

const ofTurn = (talk: Talk, turn: number): number => {
  const turnId = talk.turns[turn];
  return turnId ? (talk.lines.find((line) => line.turnId === turnId)?.id ?? 0) : 0;
};

const CHARACTERS_PER_SECOND = 17; // of speech; what came of an answer's sound is no measure while more of it is to come

/**
 * The words of a line that were heard, and those that were not, cut between words: as many as the sound that was heard can have
 * spoken. The session's own record, which knows each sentence's sound, is on its page; this is what can be said meanwhile.
 */
export function heardPart(line: TalkLine, wordsOnly = false): { heard: string; rest: string } {
  if (wordsOnly || line.role === "user" || (line.done && !line.interrupted && line.heardMs > 0))
    return { heard: line.text, rest: "" };
  if (!line.sentMs || !line.heardMs) return { heard: "", rest: line.text };
  const most = Math.min(
    (line.text.length * line.heardMs) / line.sentMs,
    (line.heardMs / 1000) * CHARACTERS_PER_SECOND,
  );
  if (most >= line.text.length) return { heard: line.text, rest: "" };
  const at = Math.max(0, line.text.lastIndexOf(" ", Math.round(most)));
  return { heard: line.text.slice(0, at), rest: line.text.slice(at).trimStart() };
}
