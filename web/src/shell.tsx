/**
 * What stands around every page: where one can go, whether what is shown is live, who is signed in. The page itself is
 * fetched when it is first opened, and remounted when its path changes.
 */
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { faultOf, session } from "./api";
import { Announced, Nav, PhoneNav } from "./nav";
import { type Page, type PageProps, PAGES } from "./pages";
import { SignIn } from "./pages/signin";
import { ActionDialog } from "./pages/taking";
import { Empty, ErrorNote, Loading, PageHeader } from "./parts";
import { matched, route } from "./router";

export function App({ entering }: { entering: Promise<void> }) {
  const [ready, setReady] = useState(false);
  useEffect(() => void entering.then(() => setReady(true)), [entering]);
  if (!ready) return <Loading what="the console" />;
  return session.value.me === null ? <SignIn /> : <Shell />;
}

interface Found {
  page: Page;
  params: Record<string, string>;
}

function Shell() {
  const { path, segments } = route.value;
  const found = find(segments);
  const main = useRef<HTMLElement>(null);
  const opened = useRef(path);
  useEffect(() => {
    document.title = `${found?.page.title ?? "Not found"} · RSPP`;
    if (opened.current === path) return;
    opened.current = path;
    main.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [path]);
  const skip = (event: Event): void => {
    event.preventDefault(); // the hash is the page's address
    main.current?.focus();
  };
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={skip}>
        Skip to the page
      </a>
      <Nav current={found?.page} />
      <main ref={main} id="main" tabIndex={-1}>
        <Announced />
        {found === null ? <Missing path={path} /> : <Shown key={path} found={found} />}
      </main>
      <PhoneNav current={found?.page} />
      <ActionDialog />
    </div>
  );
}

function find(segments: readonly string[]): Found | null {
  for (const page of PAGES) {
    const params = matched(page.path, segments);
    if (params !== null) return { page, params };
  }
  return null;
}

// Code that has been fetched once is at hand. bounded: one for each page
const fetched = new Map<Page, ComponentType<PageProps>>();

function Shown({ found: { page, params } }: { found: Found }) {
  const [Body, setBody] = useState<ComponentType<PageProps> | undefined>(() => fetched.get(page));
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    if (Body !== undefined) return;
    page.load().then(
      (module) => {
        fetched.set(page, module.default);
        setBody(() => module.default);
      },
      (caught: unknown) => setError(caught),
    );
  }, [page]);
  if (error !== null) return <ErrorNote error={faultOf(error)} onRetry={() => location.reload()} />;
  return Body === undefined ? <Loading what={page.title} /> : <Body params={params} />;
}

function Missing({ path }: { path: string }) {
  return (
    <>
      <PageHeader title="No such page" />
      <Empty title={`Nothing is at ${path}`}>
        <a href="#/">Go to the overview</a>
      </Empty>
    </>
  );
}
