/** Light, dark, or as the system says: remembered in this browser, and never a flash of the other one. */
import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const KEY = "rspp.theme";
const THEMES: readonly Theme[] = ["system", "light", "dark"];

export const theme = signal<Theme>(remembered());
show();

export function setTheme(chosen: Theme): void {
  theme.value = chosen;
  localStorage.setItem(KEY, chosen);
  show();
}

/** What comes after this one, when a button goes round. */
export function nextTheme(): Theme {
  return THEMES[(THEMES.indexOf(theme.peek()) + 1) % THEMES.length] ?? "system";
}

function remembered(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((one) => one === kept) ?? "system";
}

function show(): void {
  if (theme.peek() === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme.peek();
}
