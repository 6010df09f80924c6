/** Where one can go, on a wide page as a column and on a phone as a bar; and whether what is shown is live. */
import { useEffect, useState } from "preact/hooks";
import { connection, session, signOut } from "./api";
import { type Page, PAGES } from "./pages";
import { Dialog, Icon, type IconName } from "./parts";
import { link, route } from "./router";
import { nextTheme, setTheme, type Theme, theme } from "./theme";

const THEME_ICONS: Readonly<Record<Theme, IconName>> = { system: "screen", light: "sun", dark: "moon" };
const SAID = { live: "Live", reconnecting: "Reconnecting", offline: "Offline" } as const;
const MEANT = {
  live: "Changes appear as they happen.",
  reconnecting: "The connection was lost; what is shown may be old.",
  offline: "Nothing is heard from the server; what is shown may be old.",
} as const;

const LISTED = PAGES.filter((page) => page.icon !== undefined);

export function Nav({ current }: { current: Page | undefined }) {
  return (
    <div class="side">
      <a class="brand" href={link("/")}>
        <Brand />
        <span>RSPP</span>
      </a>
      <nav aria-label="Pages" class="side-nav">
        {LISTED.map((page) => (
          <Entry key={page.path} page={page} current={current} />
        ))}
      </nav>
      <div class="side-foot">
        <Live />
        <ThemeButton />
        <Who />
      </div>
    </div>
  );
}

export function PhoneNav({ current }: { current: Page | undefined }) {
  const [more, setMore] = useState(false);
  const { path } = route.value;
  useEffect(() => setMore(false), [path]);
  const inBar = LISTED.filter((page) => page.first === true);
  return (
    <div class="phone">
      <nav aria-label="First pages" class="phone-nav">
        {inBar.map((page) => (
          <Entry key={page.path} page={page} current={current} />
        ))}
        <button type="button" class="nav-entry" aria-haspopup="dialog" onClick={() => setMore(true)}>
          <Icon name="more" />
          <span>More</span>
          <span class="live-dot" data-now={connection.value} />
        </button>
      </nav>
      {more && (
        <Dialog title="All pages" side onClose={() => setMore(false)}>
          <nav aria-label="All pages" class="drawer-nav">
            {LISTED.map((page) => (
              <Entry key={page.path} page={page} current={current} />
            ))}
          </nav>
          <div class="drawer-foot">
            <Live />
            <ThemeButton />
            <Who />
          </div>
        </Dialog>
      )}
    </div>
  );
}

function Entry({ page, current }: { page: Page; current: Page | undefined }) {
  const here = current === page || current?.under === page.path;
  return (
    <a class="nav-entry" href={link(page.path)} aria-current={here ? "page" : undefined}>
      {page.icon !== undefined && <Icon name={page.icon} />}
      <span>{page.title}</span>
    </a>
  );
}

/** Announces the connection, once, on every kind of page; and on a phone, says it above the page while it is lost. */
export function Announced() {
  const now = connection.value;
  return (
    <div class={now === "live" ? "visually-hidden" : "lost"} role="status">
      <strong>{SAID[now]}.</strong> {MEANT[now]}
    </div>
  );
}

function Live() {
  return (
    <p class="live" data-now={connection.value} title={MEANT[connection.value]}>
      <span class="live-dot" data-now={connection.value} />
      {SAID[connection.value]}
    </p>
  );
}

function ThemeButton() {
  return (
    <button type="button" class="nav-entry" onClick={() => setTheme(nextTheme())}>
      <Icon name={THEME_ICONS[theme.value]} />
      <span>Theme: {theme.value}</span>
    </button>
  );
}

function Who() {
  const me = session.value.me;
  if (me === null) return null;
  return (
    <div class="who">
      <div class="who-text">
        <span class="who-name" title={me.id}>
          {me.id}
        </span>
        <span class="muted">
          {me.everywhere ? "all tenants" : me.tenants.join(", ") || "no tenant"} · {me.version}
        </span>
      </div>
      <button
        type="button"
        class="button quiet small"
        aria-label="Sign out"
        title="Sign out"
        onClick={signOut}
      >
        <Icon name="out" />
      </button>
    </div>
  );
}

export function Brand({ size = 22 }: { size?: number }) {
  return (
    <svg class="brand-mark" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M8 13v6M13 9v14M18.5 12v8M24 7v18" />
    </svg>
  );
}
