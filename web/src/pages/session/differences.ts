/** What differs between two recordings, as an operator reads it: each cause, and below it what follows from it. */
import type { Json, JsonMap } from "../../api";

export interface Side {
  /** The event, with its time, as the timeline of that session has it; "" where it is not there. */
  line: string;
  /** The value of the field that differs; "" where the line says all. */
  value: string;
}

export interface Difference {
  number: number;
  /** "plan", "outcome", "ordering", "timing". */
  kind: string;
  /** "session", or the turn's own name. */
  where: string;
  message: string;
  here: Side;
  there: Side;
}

export interface Cause extends Difference {
  follows: Difference[];
}

/** In the order of the causes; what follows from something that was not told stands for itself. */
export function causesOf(differences: readonly JsonMap[]): Cause[] {
  const causes = new Map<Json | undefined, Cause>();
  const isCause = (one: JsonMap): boolean => (one["root"] ?? one["number"]) === one["number"];
  for (const one of differences.filter(isCause)) causes.set(one["number"], { ...read(one), follows: [] });
  for (const one of differences.filter((other) => !isCause(other))) {
    const cause = causes.get(one["root"]);
    if (cause === undefined) causes.set(one["number"], { ...read(one), follows: [] });
    else cause.follows.push(read(one));
  }
  return [...causes.values()].sort((cause, other) => cause.number - other.number);
}

function read(one: JsonMap): Difference {
  return {
    number: typeof one["number"] === "number" ? one["number"] : 0,
    kind: text(one["class"])
      .replace(/_DIVERGENCE$/, "")
      .toLowerCase(),
    where: text(one["scope"]).startsWith("session:")
      ? "session"
      : (text(one["scope"]).split("/").at(-1) ?? ""),
    message: text(one["message"]),
    here: side(one["expected"], one["expected_position"]),
    there: side(one["got"], one["got_position"]),
  };
}

function side(value: Json | undefined, position: Json | undefined): Side {
  const place = typeof position === "object" && position !== null && !Array.isArray(position) ? position : {};
  const line = text(place["line"]).trim();
  const said =
    value === undefined || value === null
      ? ""
      : typeof value === "string"
        ? value.trim()
        : JSON.stringify(value);
  return { line, value: said === line ? "" : said };
}

const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");
