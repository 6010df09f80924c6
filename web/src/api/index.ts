/**
 * The one door between a page and the server. Nothing else in the console fetches, connects or keeps a token.
 *
 *     // Ask, and stay true: fetched again when "workers" or "runtime_health" changes, at most once a second.
 *     const { data, error, loading, refetch } = useQuery<{ health: Health }>(HEALTH, {}, ["runtime_health"]);
 *     // `data` stays while it is fetched again (loading is true then, too); `error` goes when an answer comes.
 *     // One thing of a surface alone: "sessions:ID", with the aggregate id of its row. Fourth argument true: ask nothing yet.
 *
 *     const { session } = await query<{ session: Session | null }>(TEXT, { tenant, id });   // once
 *     const { act } = await mutate<{ act: ActionResult }>(ACT, { id, key: newKey(), reason });
 *     const page = await rest<Page>("/v1/audit?limit=10");                                  // REST, same token
 *     // All three throw ApiError: .code, .message, .remedy, .status, .refused, .aboutToken; show it with <ErrorNote error={...} />.
 *
 *     session.value.me?.permissions        // who is signed in (null before that; pages are only shown after it)
 *     session.value.token                  // for what is no request of this door, such as the WebSocket of a call
 *     connection.value                     // "live" | "reconnecting" | "offline"
 *     may("sessions.cancel")               // has this caller the permission
 *     onChanged((changed) => ...)          // each change as it is heard; null: anything may have changed
 *     watch((changed) => ..., new Paced(ask, everyMs))   // what a query does, for what is asked in parts; returns how to stop
 *
 * A page is remounted when its path changes, so a query's old data is never another thing's.
 */
export { again, enter, signIn, signOut } from "./entry";
export { ApiError, faultOf } from "./fault";
export { type Changed, type Connection, connection, onChanged } from "./live";
export { newKey } from "./key";
export { Paced } from "./pace";
export { may, onSignedOut, type Session as SignedIn, session } from "./session";
export type * from "./types";
export { type Asked, useQuery, watch } from "./useQuery";
export { blobOf, mutate, query, rest, type Variables } from "./wire";
