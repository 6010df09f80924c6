/** The console's drawings: one stroke width, one grid of 16, decoration only; what they mean is always said in words, too. */

const PATHS = {
  overview: "M2 9.5 5 9.5 7 4l2.5 8 1.7-4.5H14",
  actions: "M8.8 1.8 3.5 9h4l-.7 5.2L12.5 7h-4z",
  sessions: "M2.5 3.5h11v7h-6l-3 2.5v-2.5h-2z",
  talk: "M8 1.8a2 2 0 0 1 2 2v3.7a2 2 0 0 1-4 0V3.8a2 2 0 0 1 2-2zM3.8 7.5a4.2 4.2 0 0 0 8.4 0M8 11.7v2.5",
  workers: "M2.5 2.5h11v4.2h-11zM2.5 9.3h11v4.2h-11zM5 4.6h.01M5 11.4h.01M8 4.6h3M8 11.4h3",
  providers: "M4.5 12.5a3 3 0 0 1-.3-6 4 4 0 0 1 7.6-.3 3.2 3.2 0 0 1-.3 6.3z",
  pipelines: "M2 4.5h4v3H2zM10 1.8h4v3h-4zM10 10.2h4v3h-4zM6 6h2v-2.7h2M8 6v5.7h2",
  journal: "M3.5 2h9v12h-9zM5.8 5h4.5M5.8 8h4.5M5.8 11h2.5",
  manifest: "M2.5 4l1 1 1.7-2M2.5 8.5l1 1 1.7-2M2.5 13l1 1 1.7-2M7.5 4h6M7.5 8.5h6M7.5 13h6",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3 8.5 6.5 12 13 4.5",
  info: "M8 7.2v4.3M8 4.5h.01M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8z",
  warn: "M8 2.2 14.3 13H1.7zM8 6.5v3M8 11.3h.01",
  fail: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8zM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
  up: "M8 12.5v-9M4.5 7 8 3.5 11.5 7",
  down: "M8 3.5v9M4.5 9 8 12.5 11.5 9",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  right: "M6 3.5 10.5 8 6 12.5",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13.3 2v2.7h-2.7",
  sun: "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6zM8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2M3.4 3.4l.9.9M11.7 11.7l.9.9M3.4 12.6l.9-.9M11.7 4.3l.9-.9",
  moon: "M13.2 9.7A5.7 5.7 0 0 1 6.3 2.8a5.7 5.7 0 1 0 6.9 6.9z",
  screen: "M2 3h12v8H2zM6 14h4M8 11v3",
  search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.3 10.3l3.2 3.2",
  out: "M6.5 2.5h-4v11h4M6.5 8h7M10.5 5l3 3-3 3",
  play: "M4.5 2.8v10.4l8.5-5.2z",
  pause: "M5 3v10M11 3v10",
  stop: "M3.5 3.5h9v9h-9z",
  key: "M9.5 2.5a4 4 0 1 1-1.3 7.7L6.8 11.5H5.3V13H2.5v-2.3l3.8-3.8a4 4 0 0 1 3.2-4.4zM10.7 5.3h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
