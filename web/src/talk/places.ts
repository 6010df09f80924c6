/** Where a call of this page goes: asked of the control plane, for a new session and for one whose line was lost. */
import { mutate, rest, type Route } from "../api";
import type { Place } from "./line";

const OPEN = `mutation Open($tenant: String!, $pipeline: String) {
  openRoute(tenant: $tenant, pipeline: $pipeline) { url token session tenant expiresMs }
}`;
const PATH = "/v1/rtc/ws";

export async function placeOf(tenant: string, pipeline: string): Promise<Place> {
  const { openRoute } = await mutate<{ openRoute: Route }>(OPEN, { tenant, pipeline: pipeline || null });
  return {
    url: socketUrl(openRoute.url, location.href),
    tenant: openRoute.tenant || tenant,
    pipeline,
    token: openRoute.token,
  };
}

/** By the session's own secret, which only this page has; null where this server knows of no other place. */
export async function routeAgain(
  tenant: string,
  pipeline: string,
  session: string,
  resume: string,
): Promise<Place | null> {
  const path = `/v1/tenants/${encodeURIComponent(tenant)}/sessions/${encodeURIComponent(session)}/route`;
  const body = JSON.stringify({ resume_secret: resume });
  const { endpoint, token } = await rest<{ endpoint?: string; token?: string }>(path, {
    method: "POST",
    body,
  });
  if (!endpoint || !token) return null;
  return { url: socketUrl(endpoint, location.href), tenant, pipeline, token };
}

/** The address of the socket, whether the server named a socket, a site or a path. */
export function socketUrl(given: string, page: string): string {
  const url = new URL(given, page);
  if (url.protocol === "http:" || url.protocol === "https:")
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (url.pathname === "/" || url.pathname === "") url.pathname = PATH;
  url.hash = "";
  return url.href;
}
