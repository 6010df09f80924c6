/** Whose call it may be: first what is sensible to begin with. */
import type { Me } from "../api";

/** Whom a machine's own calls belong to, where nobody says otherwise; the command line asks for this one, too. */
export const OWN_TENANT = "local";

/** The caller's own tenants; else those whose sessions were seen, the newest first. On a developer's machine its own as well. */
export function tenantsFor(me: Me | null, seen: readonly string[]): string[] {
  if (me === null) return [];
  const dev = me.dev && me.everywhere ? [OWN_TENANT] : [];
  return [...new Set([...me.tenants, ...seen, ...dev])].filter((one) => one !== "");
}
