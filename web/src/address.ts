/** An address of the console, written and read: what stands after the hash, `#/sessions/acme/s-1?turn=2`. */

export interface Route {
  /** As in the address, decoded segments joined by slashes: "/sessions/acme/s-1". */
  path: string;
  segments: readonly string[];
  search: Readonly<Record<string, string>>;
}

export type Search = Readonly<Record<string, string | number | null | undefined>>;

export function parse(text: string): Route {
  const [path = "", search = ""] = text.replace(/^#/, "").split("?", 2);
  const segments = path.split("/").filter(Boolean).map(decoded);
  return {
    path: `/${segments.join("/")}`,
    segments,
    search: Object.fromEntries(new URLSearchParams(search)),
  };
}

/** The address of a page: link("/sessions/:tenant/:id", { tenant, id }) or link("/journal", {}, { surface }). */
export function link(
  path: string,
  params: Readonly<Record<string, string>> = {},
  search: Search = {},
): string {
  const filled = path.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const said = Object.entries(search).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const query = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString();
  return `#${filled}${query === "" ? "" : `?${query}`}`;
}

/** The parameters if `path` has the shape of `pattern`, where ":name" stands for one segment; else null. */
export function matched(pattern: string, segments: readonly string[]): Record<string, string> | null {
  const wanted = pattern.split("/").filter(Boolean);
  if (wanted.length !== segments.length) return null;
  const params: Record<string, string> = {};
  for (const [index, want] of wanted.entries()) {
    const given = segments[index] ?? "";
    if (want.startsWith(":")) params[want.slice(1)] = given;
    else if (want !== given) return null;
  }
  return params;
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // a lone % that somebody typed
  }
}
