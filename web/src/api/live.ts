/**
 * What has changed is heard over Socket.IO and only that: a listener is told which surface, and asks for itself. What may
 * have been missed, by a gap, a reconnection or a server that lost count, is told as a change of everything.
 */
import { signal } from "@preact/signals";
import { io, type Socket } from "socket.io-client";
import { ApiError } from "./fault";
import { Heard, type Numbered } from "./pace";
import { forget, session } from "./session";

export type Connection = "live" | "reconnecting" | "offline";

export interface Changed {
  surface: string;
  aggregateId: string;
  sequence: number;
}

interface Over {
  code: string;
  message: string;
}
interface Refusal {
  code?: string;
  retryAfterMs?: number;
}

/** Told of each change; of null when anything may have changed. */
type Listener = (changed: Changed | null) => void;

const RETRY_MS_MAX = 5_000;
// After so long without a connection the page says offline instead of reconnecting.
const OFFLINE_AFTER_MS = 20_000;
// A server that refuses the connection itself is asked again, but not at once.
const REFUSED_RETRY_MS = 10_000;

export const connection = signal<Connection>("reconnecting");

const listeners = new Set<Listener>();
const heard = new Heard();
let socket: Socket | null = null;
let lostTimer: ReturnType<typeof setTimeout> | undefined;

/** Hear of changes until the returned function is called. */
export function onChanged(listener: Listener): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Connect with the session's token; `rolesChanged` is called when the server says that the caller may see other things now. */
export function connect(rolesChanged: () => void): void {
  disconnect();
  connection.value = "reconnecting";
  const made = io({
    path: "/socket.io",
    transports: ["websocket"],
    auth: (give) => give({ token: session.peek().token }),
    reconnectionDelay: 500,
    reconnectionDelayMax: RETRY_MS_MAX,
  });
  socket = made;
  made.on("connect", () => {
    clearTimeout(lostTimer);
    lostTimer = undefined;
    connection.value = "live";
    heard.forget();
    tell(null); // what changed before this moment was told to nobody
  });
  made.on("disconnect", () => lost(made));
  made.on("connect_error", (error: Error & { data?: Refusal }) => refused(made, error));
  made.on("changed", (changed: Changed & Numbered) => tell(heard.missed(changed) ? null : changed));
  made.on("at", (at: Numbered) => {
    if (heard.missed(at)) tell(null);
  });
  made.on("refetch", (at: Numbered) => {
    heard.missed(at);
    tell(null);
  });
  made.on("over", ({ code, message }: Over) => {
    if (code === "roles_changed") {
      made.once("disconnect", () => made.connect());
      rolesChanged();
    } else if (code === "unauthenticated") forget(new ApiError(code, message));
  });
}

export function disconnect(): void {
  clearTimeout(lostTimer);
  lostTimer = undefined;
  socket?.close();
  socket = null;
}

function lost(from: Socket, againMs = REFUSED_RETRY_MS): void {
  if (from !== socket) return;
  if (connection.value === "live") connection.value = "reconnecting";
  lostTimer ??= setTimeout(() => (connection.value = "offline"), OFFLINE_AFTER_MS);
  // `active` is false when the server turned the connection down: the client would never try again.
  if (!from.active) setTimeout(() => from === socket && !from.connected && from.connect(), againMs);
}

function refused(from: Socket, error: Error & { data?: Refusal }): void {
  if (from === socket && error.data?.code === "unauthenticated") {
    forget(new ApiError("unauthenticated", error.message));
    return;
  }
  lost(from, error.data?.retryAfterMs);
}

function tell(changed: Changed | null): void {
  for (const listener of [...listeners]) listener(changed);
}
