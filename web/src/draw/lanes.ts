/**
 * The lanes of one session, as marks to draw and to point at; pure, so that what is drawn can be tested.
 *
 *     turns      each turn from its beginning to its end, in the colour of how it ended
 *     caller     their sound, or where they spoke
 *     waiting    the stages from their last word to the first sound of the answer
 *     assistant  what was heard, and where it was cut
 *     control    the signals, in three rows
 *     requests   what else is about the session and not its data: reports of playback, orders, records
 *     data       one lane a node
 */

export interface LaneRow {
  number: number;
  atMs: number;
  direction: string;
  lane: string;
  node: string;
  turn: number | null;
  kind: string;
  text: string;
  count: number;
}

export type Tone = "plain" | "in" | "turn" | "speech" | "play" | "bad";

export interface Mark {
  row: LaneRow;
  /** Which of the lane's rows it stands in. */
  tier: number;
  tone: Tone;
}
export interface MarkLane {
  name: string;
  tiers: number;
  rows: LaneRow[];
}

const BAD =
  /cancel|abort|error|fail|reject|stale|refused|dropped|shed|exhausted|barge_in|stop$|disconnected|stall|downgraded/;
const TURN = /^(turn_|commit|close|plan_)/;
const SPEECH = /^(speech_|end_of_utterance|backchannel|interruption)/;
const PLAY = /^(playback_|output_)/;

/** A signal's own name, which its text begins with; of everything else its kind. */
export function nameOf({ kind, text }: Pick<LaneRow, "kind" | "text">): string {
  return kind === "signal" ? (text.split("  ", 1)[0] ?? "") || kind : kind;
}

export function toneOf(row: LaneRow): Tone {
  const name = nameOf(row);
  if (row.lane !== "control" || row.kind !== "signal") return row.direction === "in" ? "in" : "plain";
  if (BAD.test(name)) return "bad";
  if (TURN.test(name)) return "turn";
  if (SPEECH.test(name)) return "speech";
  return PLAY.test(name) ? "play" : "plain";
}

/** Control, requests, then a lane for each node that has data, in the order in which they are first heard of, then telemetry. */
export function markLanes(rows: readonly LaneRow[]): MarkLane[] {
  const nodes = new Map<string, LaneRow[]>();
  const control: LaneRow[] = [],
    requests: LaneRow[] = [],
    telemetry: LaneRow[] = [];
  for (const row of rows) {
    if (row.lane === "control") (row.kind === "signal" ? control : requests).push(row);
    else if (row.lane === "telemetry") telemetry.push(row);
    else {
      const mine = nodes.get(row.node || "other");
      if (mine === undefined) nodes.set(row.node || "other", [row]);
      else mine.push(row);
    }
  }
  const made = [
    { name: "control", tiers: 3, rows: control },
    ...[...nodes].map(([name, those]) => ({ name, tiers: 1, rows: those })),
  ];
  if (requests.length) made.splice(1, 0, { name: "requests", tiers: 1, rows: requests });
  if (telemetry.length) made.push({ name: "telemetry", tiers: 1, rows: telemetry });
  return made.filter((lane) => lane.rows.length);
}

/** Each row's tier: the first that has room again, or the one that has had it longest. */
export function marksOf(lane: MarkLane, x: (ms: number) => number, wide: number): Mark[] {
  const free: number[] = Array.from({ length: lane.tiers }, () => -Infinity);
  return lane.rows.map((row) => {
    const left = x(row.atMs);
    let tier = free.findIndex((until) => until <= left);
    if (tier < 0) tier = free.indexOf(Math.min(...free));
    free[tier] = left + wide;
    return { row, tier, tone: toneOf(row) };
  });
}

/** The mark nearest to a place, not farther away than `reach`. */
export function nearest<Spot extends { x: number; y: number }>(
  spots: readonly Spot[],
  x: number,
  y: number,
  reach: number,
): Spot | null {
  let best: Spot | null = null,
    least = reach * reach;
  for (const spot of spots) {
    const far = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (far <= least) [best, least] = [spot, far];
  }
  return best;
}
