/**
 * The sessions that there are as rows, and rows as a table or JSON: what the cache knows and readiness judges goes in, text comes out. Pure.
 * @module
 */
import { isAlive } from "../kubernetes/objects.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { shown } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import { TEMPLATE_ANNOTATION, TEMPLATE_LABEL, USER_ANNOTATION, USER_LABEL } from "../model/names.ts";
import { observedStatus } from "../status/observed.ts";
import { checkReadiness } from "../status/readiness.ts";

/** One session; texts are empty where there is nothing. */
export interface SessionRow {
  readonly session: string;
  readonly user: string;
  readonly template: string;
  /** As the Control Plane is told it, or `hibernating` or `terminating`. */
  readonly state: string;
  readonly pod: string;
  readonly node: string;
  /** Seconds since its Deployment was created; 0 where there is none. */
  readonly ageSeconds: number;
  /** Name of the home's claim. */
  readonly home: string;
  readonly cpu: string;
  readonly memory: string;
  /** Why it cannot be used, where it should be. */
  readonly reason: string;
}

const HEAD = [
  "SESSION",
  "USER",
  "TEMPLATE",
  "STATE",
  "POD",
  "NODE",
  "AGE",
  "HOME",
  "CPU",
  "MEMORY",
  "REASON",
];
/** Ids and names of users are any text: one of them does not make a table unreadable. */
const WIDEST = 63;

/** A row for each session, by id; `now` in milliseconds since 1970. */
export function listRows(cache: SessionCache, now: number): SessionRow[] {
  return cache.sessionIds().sort().map((id) => rowOf(id, cache.session(id), now));
}

/** The rows as a person or a program reads them. */
export function formatRows(rows: readonly SessionRow[], format: "text" | "json"): string {
  if (format === "json") return JSON.stringify({ sessions: rows }, undefined, 2);
  if (rows.length === 0) return "No sessions";
  const lines = [HEAD, ...rows.map(cellsOf)];
  const widths = HEAD.map((_, i) => Math.max(...lines.map((cells) => cells[i]?.length ?? 0)));
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
  const limits = deployment?.spec?.template.spec?.containers[0]?.resources?.limits;
  return {
    session,
    user: annotations[USER_ANNOTATION] ?? labels[USER_LABEL] ?? "",
    template: annotations[TEMPLATE_ANNOTATION] ?? labels[TEMPLATE_LABEL] ?? "",
    state: status?.state ?? (isAlive(deployment) ? "hibernating" : "terminating"),
    pod: pod?.metadata?.name ?? "",
    node: pod?.spec?.nodeName ?? "",
    ageSeconds: creationTimestamp
      ? Math.max(0, Math.round((now - new Date(creationTimestamp).getTime()) / 1000))
      : 0,
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

function cellsOf(row: SessionRow): string[] {
  const { session, user, template, state, pod, node, ageSeconds, home, cpu, memory, reason } = row;
  const age = ageSeconds === 0 ? "" : formatDuration(ageSeconds * 1000);
  const cells = [session, user, template, state, pod, node, age, home, cpu, memory].map(shown).map(shortened);
  return [...cells.map((cell) => cell || "-"), shown(reason)];
}

function shortened(text: string): string {
  return text.length > WIDEST ? `${text.slice(0, WIDEST - 1)}…` : text;
}
