/**
 * The command `sessions --homes`: lists the home volumes of this agent's sessions and their users, and when they are deleted.
 * @module
 */
import type { V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { formatDuration } from "../common/quantities.ts";
import { nameOf } from "../kubernetes/objects.ts";
import { sessionIdOf } from "../kubernetes/ownership.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { USER_ANNOTATION, USER_LABEL } from "../model/names.ts";
import { unusedSinceOf, usedClaims } from "../sessions/home_retention.ts";
import type { Config, OutputFormat } from "./options.ts";
import { cellOf, formatTable, loadCache } from "./sessions_table.ts";

/** One home volume; texts without a value are empty. */
export interface HomeRow {
  /** Name of the PersistentVolumeClaim. */
  readonly home: string;
  /** Empty for the home volume of a user. */
  readonly session: string;
  readonly user: string;
  readonly size: string;
  readonly storageClass: string;
  readonly state: "used" | "unused";
  /** Seconds since it was created. */
  readonly ageSeconds: number;
  /** RFC 3339; empty if it is used, or if a running agent with `--home-retention` has not recorded it yet. */
  readonly unusedSince: string;
  /** RFC 3339; empty if it is not deleted. */
  readonly deletedAt: string;
}

const HEADER = ["HOME", "SESSION", "USER", "SIZE", "CLASS", "STATE", "AGE", "UNUSED", "DELETED"];

/**
 * Lists the home volumes.
 *
 * @throws {KubernetesError} when the cluster rejects the requests
 * @throws {Error} when the cluster does not answer in time, or credentials for it cannot be loaded
 */
export async function listHomes(config: Config, format: OutputFormat): Promise<string> {
  const now = Date.now();
  return formatHomes(homeRows(await loadCache(config), { now, retention: config.homeRetention }), {
    format,
    now,
  });
}

/** One row per home volume, sorted by name; `now` is in milliseconds since 1970. */
export function homeRows(
  cache: SessionCache,
  { now, retention }: { readonly now: number; readonly retention: Config["homeRetention"] },
): HomeRow[] {
  const used = usedClaims(cache);
  const rowOf = (claim: V1PersistentVolumeClaim): HomeRow => {
    const { metadata, spec } = claim;
    const isUsed = used.has(nameOf(claim)) || cache.foreign.mounting(nameOf(claim)).length > 0;
    const since = isUsed ? undefined : unusedSinceOf(claim);
    const timeOf = (ms: number | undefined) => ms === undefined ? "" : new Date(ms).toISOString();
    return {
      home: nameOf(claim),
      session: sessionIdOf(claim) ?? "",
      user: metadata?.annotations?.[USER_ANNOTATION] ?? metadata?.labels?.[USER_LABEL] ?? "",
      size: spec?.resources?.requests?.storage ?? "",
      storageClass: spec?.storageClassName ?? "",
      state: isUsed ? "used" : "unused",
      ageSeconds: Math.max(
        0,
        Math.round((now - new Date(metadata?.creationTimestamp ?? now).getTime()) / 1000),
      ),
      unusedSince: timeOf(since),
      deletedAt: timeOf(since === undefined || retention === "keep" ? undefined : since + retention),
    };
  };
  return cache.claims().map(rowOf).sort((a, b) => a.home < b.home ? -1 : 1);
}

/** Formats the rows as a table for people or as JSON for programs. */
export function formatHomes(
  rows: readonly HomeRow[],
  { format, now }: { readonly format: OutputFormat; readonly now: number },
): string {
  if (format === "json") return JSON.stringify({ homes: rows }, undefined, 2);
  return rows.length === 0
    ? "No home volumes"
    : formatTable([HEADER, ...rows.map((row) => cellsOf(row, now))]);
}

function cellsOf({ ageSeconds, unusedSince, deletedAt, ...row }: HomeRow, now: number): string[] {
  const { home, session, user, size, storageClass, state } = row;
  const unused = unusedSince === "" ? "" : formatDuration(Math.max(1000, now - Date.parse(unusedSince)));
  const untilDeleted = Date.parse(deletedAt) - now;
  const deleted = deletedAt === "" ? "" : untilDeleted > 0 ? `in ${formatDuration(untilDeleted)}` : "now";
  const age = formatDuration(Math.max(1, ageSeconds) * 1000);
  return [home, session, user, size, storageClass, state, age, unused, deleted].map(cellOf);
}
