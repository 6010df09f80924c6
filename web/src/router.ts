/**
 * The address says which page is shown, after the hash, so that the server has one file to serve. `link` is the only way to
 * write such an address and `route` the only way to read it.
 */
import { computed, signal } from "@preact/signals";
import { link, parse, type Route, type Search } from "./address";

export { link, matched, type Route } from "./address";

const hash = signal(location.hash);
addEventListener("hashchange", () => (hash.value = location.hash));

export const route = computed<Route>(() => parse(hash.value));

export function go(address: string): void {
  location.hash = address;
}

/** Change what is after the question mark, without a new entry in the history: a filter is no page. */
export function searchFor(changes: Search): void {
  const { segments, search } = route.peek();
  const path = `/${segments.map(encodeURIComponent).join("/")}`;
  history.replaceState(null, "", link(path, {}, { ...search, ...changes }));
  hash.value = location.hash;
}
