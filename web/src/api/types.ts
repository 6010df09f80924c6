/** What the server answers, as `schema.graphql` says it: one interface a type, same names, nothing more. */

export type Level = "OK" | "NOTICE" | "DEGRADED" | "FAILED";
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonMap = Record<string, Json>;

export interface Me {
  id: string;
  tenants: string[];
  everywhere: boolean;
  permissions: string[];
  version: string;
  dev: boolean;
}

export interface SurfaceDeclared {
  name: string;
  owner: string;
  summary: string;
  aggregateType: string;
  storage: string;
  truth: string;
  derivedFrom: string[];
  affectsHealth: boolean;
  affectsActions: boolean;
  authority: boolean;
  coverage: string;
  read: string;
}

export interface Row {
  surface: string;
  aggregateId: string;
  tenant: string | null;
  state: string;
  level: Level;
  reason: string;
  message: string;
  sinceMs: number;
  over: boolean;
  facts: JsonMap;
}
export interface RowPage {
  items: Row[];
  next: string | null;
  total: number;
}

export interface Reason {
  surface: string;
  aggregateId: string;
  tenant: string | null;
  level: Level;
  code: string;
  message: string;
  sinceMs: number;
}
export interface SurfaceHealth {
  surface: string;
  level: Level;
  rows: number;
  reasons: Reason[];
}
export interface Health {
  level: Level;
  asOfMs: number;
  sequence: number;
  stale: boolean;
  reasons: Reason[];
  surfaces: SurfaceHealth[];
}

export interface Call {
  method: string;
  path: string;
  body: Json;
  graphql: string;
  cli: string;
}
export interface Action {
  id: string;
  kind: string;
  title: string;
  why: string;
  surface: string;
  aggregateId: string;
  tenant: string | null;
  role: string;
  risk: string;
  allowed: boolean;
  call: Call;
}
export interface ActionResult {
  id: string;
  done: boolean;
  repeated: boolean;
  message: string;
  code: string;
}

export interface StateChange {
  schemaVersion: string;
  eventId: string;
  sequence: number;
  occurredAt: string;
  source: string;
  surface: string;
  changeType: string;
  aggregateType: string;
  aggregateId: string;
  changedSurfaces: string[];
  severity: string;
  snapshotHint: string;
  mutatesAuthorityState: boolean;
  artifactRef: string | null;
  correlationId: string | null;
  causationId: string | null;
  metadata: JsonMap;
}
export interface JournalPage {
  items: StateChange[];
  next: number;
  last: number;
  compacted: boolean;
  oldest: number;
}
export interface SurfaceCoverage {
  surface: string;
  declared: string;
  coverage: string;
  records: number;
  lastSequence: number;
  watched: number;
  uncovered: number;
  why: string;
}
export interface JournalStatus {
  writable: boolean;
  problem: string;
  records: number;
  oldest: number;
  last: number;
  bytes: number;
  surfaces: SurfaceCoverage[];
}

export interface Point {
  name: string;
  p50Ms: number | null;
  p95Ms: number | null;
  p99Ms: number | null;
  count: number;
}
export interface Load {
  sessions: number;
  capacity: number;
  degraded: number;
  turnsPerMinute: number;
  workers: number;
  workersReady: number;
  answer: Point;
  stages: Point[];
  interruptStopMs: Point;
}

export interface SessionItem {
  tenant: string;
  id: string;
  state: string;
  sinceMs: number;
  openedMs: number;
  epoch: number;
  owner: string;
  region: string;
  pipeline: string;
  turns: number;
  line: string;
  missing: string[];
  reason: string;
  recorded: boolean;
}
export interface SessionPage {
  items: SessionItem[];
  next: string | null;
  total: number;
}
export interface Said {
  turn: number;
  speaker: string;
  text: string;
  atMs: number;
  heardMs: number | null;
  heard: string | null;
  interrupted: boolean;
  final: boolean;
}
export interface Stage {
  name: string;
  beganMs: number;
  tookMs: number;
}
export interface Turn {
  number: number;
  id: string;
  beganMs: number;
  endedMs: number | null;
  outcome: string;
  reason: string;
  stages: Stage[];
  heardAfterMs: number | null;
  interruptStopMs: number | null;
  trouble: string[];
}
export interface TimelineRow {
  number: number;
  atMs: number;
  direction: string;
  lane: string;
  node: string;
  turn: number | null;
  kind: string;
  text: string;
  count: number;
}
export interface TimelinePage {
  items: TimelineRow[];
  next: number | null;
  total: number;
}
export interface Sound {
  side: string;
  seconds: number;
  url: string;
  peaks: number[];
}
export interface Session {
  item: SessionItem;
  resolved: JsonMap | null;
  withheld: string;
  transcript: Said[];
  turns: Turn[];
  timeline: TimelinePage;
  evidence: JsonMap[];
  summary: JsonMap | null;
  sound: Sound[];
  recordedLevel: string;
}

export interface Version {
  version: string;
  sha256: string;
  author: string;
  createdAtMs: number;
  share: number;
}
export interface GraphNode {
  id: string;
  type: string;
  provider: string | null;
  inserted: boolean;
}
export interface GraphEdge {
  from: string;
  to: string;
  port: string;
  lane: string;
  condition: string | null;
}
export interface Pipeline {
  name: string;
  version: string;
  versions: Version[];
  rollout: JsonMap | null;
  nodes: GraphNode[];
  edges: GraphEdge[];
  text: string;
  problems: string[];
}
export interface Provider {
  name: string;
  modality: string;
  state: string;
  circuit: string;
  level: Level;
  availability: number | null;
  p50Ms: number | null;
  p95Ms: number | null;
  calls: number;
  failures: number;
  price: number | null;
  workers: number;
  reason: string;
}

export interface Route {
  url: string;
  token: string;
  session: string;
  tenant: string;
  expiresMs: number;
}
export interface ReplayResult {
  same: boolean;
  message: string;
  compared: number;
  digest: string;
  divergence: JsonMap | null;
}
export interface DiffResult {
  same: boolean;
  message: string;
  differences: JsonMap[];
}

export interface WorkStep {
  step: string;
  goal: string;
  status: string;
  atMs: number;
}
export interface WorkRun {
  name: string;
  status: string;
  outputs: string[];
  notes: string;
}
export interface WorkOutput {
  name: string;
  present: boolean;
  source: string;
  ref: string;
}
export interface WorkSession {
  id: string;
  state: string;
  kind: string;
  step: string;
  goal: string;
  reason: string;
  author: string;
  folder: string;
  sinceMs: number;
  updatedAtMs: number;
  line: number;
  trace: string;
  steps: number;
  stepsDone: number;
  routing: JsonMap;
  past: WorkStep[];
  roles: WorkRun[];
  engines: WorkRun[];
  outputs: WorkOutput[];
  missing: { code: string; what: string; fix: string }[];
  requirements: { what: string; ref: string }[];
  resumeAllowed: boolean;
  nextFile: string;
  nextGoal: string;
  result: { status: string; code: string; reasons: string[]; fixes: string[]; report: string; pack: string };
  cut: string[];
  signal: { by: string; reason: string; atMs: number; takenAtMs: number } | null;
}
