/**
 * The command `sessions`: lists this agent's sessions from the cluster and formats them as a table or JSON.
 * @module
 */
import { loadAccess } from "../kubernetes/kubeconfig.ts";
import { isAlive } from "../kubernetes/objects.ts";
import { SessionCache, type SessionObjects } from "../kubernetes/session_cache.ts";
import { loadSessions } from "../kubernetes/session_watch.ts";
import { Transport } from "../kubernetes/transport.ts";
import { printable } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import {
  labelValue,
  TEMPLATE_ANNOTATION,
  TEMPLATE_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
} from "../model/names.ts";
import { recordedActivity } from "../status/annotations.ts";
import { observedStatus } from "../status/observed.ts";
import { checkReadiness } from "../status/readiness.ts";
import type { Config, OutputFormat } from "./options.ts";

/** Timeout of the requests, in milliseconds; short, because somebody waits at a terminal. */
const TIMEOUT_MS = 15_000;

/** One session; texts without a value are empty. */
export interface SessionRow {
  readonly session: string;
  readonly user: string;
  readonly template: string;
  /** A state as reported to the Control Plane, or `hibernating` or `terminating`. */
  readonly state: string;
  readonly pod: string;
  readonly node: string;
  /** Seconds since its Deployment was created, rounded up; 0 without a Deployment. */
  readonly ageSeconds: number;
  /** Number of open streams. */
  readonly viewers: number;
  /** When a stream was open last (RFC 3339); empty if none ever was. */
  readonly lastActivity: string;
  /** Name of the home volume's PersistentVolumeClaim. */
  readonly home: string;
  readonly cpu: string;
  readonly memory: string;
  /** Why a pending or failed session is not ready. */
  readonly reason: string;
}

const HEADER = [
  "SESSION",
  "USER",
  "TEMPLATE",
  "STATE",
  "POD",
  "NODE",
  "AGE",
  "VIEWERS",
  "LAST USED",
  "HOME",
  "CPU",
  "MEMORY",
  "REASON",
];
/** Longest cell: session ids and user names can have any length, and one of them must not make the table unreadable. */
const MAX_CELL_LENGTH = 63;

/**
 * Lists this agent's sessions.
 *
 * @throws {KubernetesError} when the cluster rejects the requests
 * @throws {Error} when the cluster does not answer in time, or credentials for it cannot be loaded
 */
export async function listSessions(
  config: Config,
  format: OutputFormat,
  { timeoutMs = TIMEOUT_MS }: { timeoutMs?: number } = {},
): Promise<string> {
  const now = Date.now();
  return formatRows(listRows(await loadCache(config, timeoutMs), now), format, now);
}

/** Reads all objects of this agent's sessions. */
export async function loadCache(config: Config, timeoutMs = TIMEOUT_MS): Promise<SessionCache> {
  using transport = new Transport(() => loadAccess(config.kubeconfig));
  const cache = new SessionCache([config.agentId, ...config.adoptSessionsOf].map(labelValue));
  const signal = AbortSignal.timeout(timeoutMs);
  await loadSessions({ cache, transport }, { namespace: config.namespace, signal }).catch((error) => {
    if (!signal.aborted) throw error;
    throw new Error(`Kubernetes did not answer within ${formatDuration(timeoutMs)}`, { cause: error });
  });
  return cache;
}

/** One row per session, sorted by session id; `now` is in milliseconds since 1970. */
export function listRows(cache: SessionCache, now: number): SessionRow[] {
  return cache.sessionIds().sort().map((id) => rowOf(id, cache.session(id), now));
}

/** Formats the rows as a table for people or as JSON for programs; `now` is in milliseconds since 1970. */
export function formatRows(rows: readonly SessionRow[], format: OutputFormat, now: number): string {
  if (format === "json") return JSON.stringify({ sessions: rows }, undefined, 2);
  return rows.length === 0 ? "No sessions" : formatTable([HEADER, ...rows.map((row) => cellsOf(row, now))]);
}

/** Aligns the cells of a table. */
export function formatTable(lines: readonly (readonly string[])[]): string {
  const widths = lines[0]?.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0))) ?? [];
  return lines.map((cells) => cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd()).join(
    "\n",
  );
}

function rowOf(session: string, objects: SessionObjects, now: number): SessionRow {
  const { deployment, claim } = objects;
  const { annotations = {}, labels = {}, creationTimestamp } = deployment?.metadata ?? {};
  const status = observedStatus(session, { objects, lastReported: undefined, disruption: undefined });
  const pod = objects.pods.find(({ metadata }) => metadata?.name === status?.platformMetadata.podName) ??
    objects.pods[0];
  const activity = recordedActivity(objects);
  const limits = deployment?.spec?.template.spec?.containers[0]?.resources?.limits;
  return {
    session,
    user: annotations[USER_ANNOTATION] ?? labels[USER_LABEL] ?? "",
    template: annotations[TEMPLATE_ANNOTATION] ?? labels[TEMPLATE_LABEL] ?? "",
    state: status?.state ?? (isAlive(deployment) ? "hibernating" : "terminating"),
    pod: pod?.metadata?.name ?? "",
    node: pod?.spec?.nodeName ?? "",
    ageSeconds: creationTimestamp
      ? Math.max(1, Math.ceil((now - new Date(creationTimestamp).getTime()) / 1000))
      : 0,
    viewers: activity?.viewers ?? 0,
    lastActivity: activity?.lastActivity.toISOString() ?? "",
    home: claim?.metadata?.name ?? "",
    cpu: limits?.cpu ?? "",
    memory: limits?.memory ?? "",
    reason: status?.state === "pending" || status?.state === "failed" ? reasonOf(objects) : "",
  };
}

function reasonOf(objects: SessionObjects): string {
  const readiness = checkReadiness(objects);
  switch (readiness.state) {
    case "ready":
      return "";
    case "starting":
      return readiness.progress;
    case "failing":
      return readiness.problem.message;
  }
}

function cellsOf(row: SessionRow, now: number): string[] {
  const { session, user, template, state, pod, node, ageSeconds, home, cpu, memory, reason } = row;
  const age = ageSeconds === 0 ? "" : formatDuration(ageSeconds * 1000);
  const use = [String(row.viewers), lastUsed(row, now)];
  const cells = [session, user, template, state, pod, node, age, ...use, home, cpu, memory].map(cellOf);
  return [...cells, printable(reason)];
}

/** The time since the session was used last. */
function lastUsed({ viewers, lastActivity }: SessionRow, now: number): string {
  if (viewers > 0) return "now";
  if (lastActivity === "") return "never";
  return formatDuration(Math.max(1, Math.ceil((now - Date.parse(lastActivity)) / 1000)) * 1000);
}

/** The text of a cell: names from payloads can have any length and characters. */
export function cellOf(value: string): string {
  const text = printable(value) || "-";
  return text.length > MAX_CELL_LENGTH ? `${text.slice(0, MAX_CELL_LENGTH - 1)}…` : text;
}
