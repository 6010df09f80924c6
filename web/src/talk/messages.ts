/** Control messages of `rspp.v1+json`: what this page says, and what it understands of what it is told. */

export const SUBPROTOCOL = "rspp.v1+json";

/** Closes after which the session is over, or another line has it: there is nothing to come back to. */
export const FINAL_CLOSES: ReadonlySet<number> = new Set([
  1000, 1002, 1007, 1009, 4000, 4002, 4003, 4004, 4005, 4006, 4008, 4010, 4011, 4014, 4015, 4016, 4017, 4018,
  4022,
]);

export interface AudioFormat {
  codec: "pcm16";
  rate: number;
  frame_ms: number;
}

export type ClientMessage =
  | {
      type: "hello";
      tenant: string;
      pipeline?: string;
      token?: string;
      session?: string;
      resume?: string;
      epoch?: number;
      audio_in: AudioFormat | null;
      audio_out: AudioFormat | null;
      playback_reports: boolean;
    }
  | { type: "say"; text: string; key: string }
  | { type: "delivery"; what: Report; turn_id: string; heard_ms: number; epoch: number }
  | { type: "control"; signal: "barge_in"; epoch: number }
  | { type: "bye" };

export type Report = "accepted" | "started" | "position" | "completed";

export interface Welcome {
  type: "welcome";
  session: string;
  epoch: number;
  resume: string;
  resumed: boolean;
  moved: boolean;
  resumeMs: number;
}
export interface Told {
  type: "signal";
  signal: string;
  atMs: number;
  epoch: number;
  turnId: string;
  reason: string;
  detail: Readonly<Record<string, unknown>>;
}
export interface Caption {
  type: "text";
  text: string;
  role: string;
  turnId: string;
  /** Of the caller's words: which utterance they are. */
  segment: number;
  final: boolean;
}
export interface Playback {
  type: "playback";
  action: "start" | "pause" | "resume" | "stop";
  turnId: string;
  turn: number;
  keepMs: number;
}
export interface Problem {
  type: "error";
  code: string;
  message: string;
}
export interface Goodbye {
  type: "goodbye";
  code: string;
  reason: string;
  endpoint: string;
  retryAfterMs: number;
}
export type ServerMessage = Welcome | Told | Caption | Playback | Problem | Goodbye;

type Fields = Readonly<Record<string, unknown>>;

const text = (from: Fields, name: string): string => {
  const value = from[name];
  return typeof value === "string" ? value : "";
};
const count = (from: Fields, name: string): number => {
  const value = from[name];
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
};
const fields = (value: unknown): Fields | null =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;

const ACTIONS: ReadonlySet<string> = new Set(["start", "pause", "resume", "stop"]);

/** One message, its missing fields filled in; null for what is malformed or of a type that this page does not know. */
export function parseMessage(data: string): ServerMessage | null {
  let said: Fields | null;
  try {
    said = fields(JSON.parse(data));
  } catch {
    return null;
  }
  return said && read(said);
}

function read(said: Fields): ServerMessage | null {
  switch (said["type"]) {
    case "welcome":
      return welcome(said);
    case "signal":
      return signal(said);
    case "text":
      return {
        type: "text",
        text: text(said, "text"),
        role: text(said, "role"),
        turnId: text(said, "turn_id"),
        segment: count(said, "segment"),
        final: said["final"] === true,
      };
    case "playback":
      return playback(said);
    case "error":
      return { type: "error", code: text(said, "code"), message: text(said, "message") };
    case "goodbye":
      return {
        type: "goodbye",
        code: text(said, "code"),
        reason: text(said, "reason"),
        endpoint: text(said, "endpoint"),
        retryAfterMs: count(said, "retry_after_ms"),
      };
    default:
      return null;
  }
}

function welcome(said: Fields): Welcome | null {
  const session = text(said, "session"),
    resume = text(said, "resume");
  if (!session || !resume) return null;
  return {
    type: "welcome",
    session,
    resume,
    epoch: count(said, "epoch"),
    resumed: said["resumed"] === true,
    moved: said["moved"] === true,
    resumeMs: count(said, "resume_ms"),
  };
}

function signal(said: Fields): Told | null {
  const name = text(said, "signal");
  if (!name) return null;
  return {
    type: "signal",
    signal: name,
    atMs: count(said, "at_ms"),
    epoch: count(said, "epoch"),
    turnId: text(said, "turn_id"),
    reason: text(said, "reason"),
    detail: fields(said["detail"]) ?? {},
  };
}

function playback(said: Fields): Playback | null {
  const action = text(said, "action"),
    turnId = text(said, "turn_id");
  if (!ACTIONS.has(action) || !turnId) return null;
  return {
    type: "playback",
    action: action as Playback["action"],
    turnId,
    turn: count(said, "turn"),
    keepMs: count(said, "keep_ms"),
  };
}
