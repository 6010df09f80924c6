/** The orders that a worker takes, and which of them fit how it is now. */
import type { Row } from "../../api";

export type Order = "drain" | "migrate" | "resume";

interface Words {
  verb: string;
  title: string;
  means: string;
  /** After the worker's own address in the REST interface. */
  path: string;
  mode?: string;
  /** The kinds of action by which health offers the same. */
  offered: readonly string[];
}

export const ORDERS: Readonly<Record<Order, Words>> = {
  drain: {
    verb: "Drain",
    title: "Drain this worker",
    means: "It takes no new calls from now on, and hears those that it has to their end.",
    path: "drain",
    mode: "drain",
    offered: [],
  },
  migrate: {
    verb: "Migrate",
    title: "Move its calls to other workers",
    means: "It takes no new calls from now on, and its callers go on at other workers, where there is room.",
    path: "drain",
    mode: "migrate",
    offered: ["drain_worker", "empty_worker"],
  },
  resume: {
    verb: "Resume",
    title: "Take new calls again",
    means: "It takes new calls again. What has moved away stays where it is.",
    path: "resume",
    offered: ["resume_worker"],
  },
};

/** Nothing for a control plane, which holds no calls, nor for one that is gone; nor what health offers with its reason anyhow. */
export function ordersFor(row: Row, offered: readonly string[]): Order[] {
  if (row.over || row.facts["kind"] === "control") return [];
  const fitting: Order[] =
    row.state === "up" ? ["drain", "migrate"] : row.state === "draining" ? ["resume"] : [];
  return fitting.filter((order) => !ORDERS[order].offered.some((kind) => offered.includes(kind)));
}
