/** Every page of the console: its address, its title, where it stands in the navigation, and how its code is fetched. */
import type { ComponentType } from "preact";
import type { IconName } from "../parts/icon";

export interface PageProps {
  params: Readonly<Record<string, string>>;
}

export interface Page {
  path: string;
  title: string;
  /** Absent for a page that is only reached from another one; that one's path is `under`. */
  icon?: IconName;
  under?: string;
  /** Shown in the phone's bar, too. */
  first?: boolean;
  load: () => Promise<{ default: ComponentType<PageProps> }>;
}

export const PAGES: readonly Page[] = [
  { path: "/", title: "Overview", icon: "overview", first: true, load: () => import("./overview") },
  { path: "/actions", title: "Actions", icon: "actions", first: true, load: () => import("./actions") },
  { path: "/sessions", title: "Sessions", icon: "sessions", first: true, load: () => import("./sessions") },
  { path: "/sessions/:tenant/:id", title: "Session", under: "/sessions", load: () => import("./session") },
  { path: "/talk", title: "Talk", icon: "talk", first: true, load: () => import("./talk") },
  { path: "/workers", title: "Workers", icon: "workers", load: () => import("./workers") },
  { path: "/providers", title: "Providers", icon: "providers", load: () => import("./providers") },
  { path: "/pipelines", title: "Pipelines", icon: "pipelines", load: () => import("./pipelines") },
  { path: "/pipelines/:name", title: "Pipeline", under: "/pipelines", load: () => import("./pipelines") },
  { path: "/journal", title: "Journal", icon: "journal", load: () => import("./journal") },
  { path: "/manifest", title: "Manifest", icon: "manifest", load: () => import("./manifest") },
  { path: "/manifest/:id", title: "Work session", under: "/manifest", load: () => import("./manifest") },
];
