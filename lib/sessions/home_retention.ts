/**
 * Deletes home volumes that no session has used for longer than `--home-retention`. An annotation of the claim records since when it is unused, so
 * that the time also counts across restarts; the next start removes it. A deletion is decided by fresh lists, and does not happen if the claim was
 * changed since.
 * @module
 */
import type { KubernetesObject, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { hasStatus, messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { mountedClaims, sessionIdOf } from "../kubernetes/ownership.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { APP, APP_LABEL, UNUSED_SINCE_ANNOTATION, USER_LABEL } from "../model/names.ts";
import type { BusySessions } from "../status/busy_sessions.ts";
import type { HomeDeletion } from "./home_deletion.ts";

/** What a retention needs. */
export interface HomeRetentionOptions {
  readonly cache: SessionCache;
  readonly client: Pick<SessionClient, "annotateClaim" | "claims" | "listDeployments">;
  readonly homes: Pick<HomeDeletion, "mounting">;
  readonly busy: Pick<BusySessions, "has">;
  /** How long unused home volumes are kept, in milliseconds; `"keep"`: for ever. */
  readonly retention: number | "keep";
  /** Time between two checks, in milliseconds. */
  readonly intervalMs: number;
  readonly onDeleted: () => void;
}

/** Checks the home volumes regularly. */
export class HomeRetention implements Disposable {
  readonly #options: HomeRetentionOptions;
  readonly #problems = new RepeatFilter();
  readonly #disposed = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: HomeRetentionOptions) {
    this.#options = options;
  }

  /** Checks now and then regularly, unless home volumes are kept for ever. Call it when the cache is synced. */
  start(): void {
    const { retention } = this.#options;
    if (retention !== "keep") void this.#checkRegularly(retention);
  }

  /** Stops checking. */
  [Symbol.dispose](): void {
    this.#disposed.abort();
    clearTimeout(this.#timer);
  }

  async #checkRegularly(retentionMs: number): Promise<void> {
    const used = usedClaims(this.#options.cache);
    for (const claim of this.#options.cache.claims()) {
      if (this.#disposed.signal.aborted) return;
      try {
        await this.#check(claim, { retentionMs, isUsed: used.has(nameOf(claim)) });
        this.#problems.reset();
      } catch (error) {
        const reason = messageOf(error);
        if (this.#problems.isNew(reason)) {
          log.warn("Cannot check home volume {name} for its retention: {reason}", {
            name: nameOf(claim),
            reason,
          });
        }
      }
    }
    if (this.#disposed.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#checkRegularly(retentionMs), this.#options.intervalMs);
  }

  async #check(
    claim: V1PersistentVolumeClaim,
    { retentionMs, isUsed }: { retentionMs: number; isUsed: boolean },
  ): Promise<void> {
    const sessionId = sessionIdOf(claim);
    if (!isAlive(claim) || (sessionId !== undefined && this.#options.busy.has(sessionId))) return;
    const unusedSince = unusedSinceOf(claim);
    if (isUsed || this.#options.cache.foreign.mounting(nameOf(claim)).length > 0) {
      if (unusedSince !== undefined) await this.#annotate(claim, null);
    } else if (unusedSince === undefined || unusedSince > Date.now()) {
      await this.#annotate(claim, new Date().toISOString());
    } else if (unusedSince + retentionMs <= Date.now()) await this.#delete(claim, { sessionId, unusedSince });
  }

  async #delete(
    claim: V1PersistentVolumeClaim,
    { sessionId, unusedSince }: { sessionId: string | undefined; unusedSince: number },
  ): Promise<void> {
    const { client, homes, onDeleted } = this.#options;
    const { uid = "", resourceVersion } = claim.metadata ?? {};
    const users = [
      ...await homes.mounting(claim, ""),
      ...(sessionId === undefined ? await this.#sessionsOfUser(claim) : []),
    ];
    // No watch shows these users, so that the time starts again.
    if (users.length > 0) return await this.#annotate(claim, new Date().toISOString());
    try {
      await client.claims.delete(nameOf(claim), uid, resourceVersion);
    } catch (error) {
      // A start that uses the claim meanwhile removes its annotation: the next check decides again.
      if (hasStatus(error, 409)) return;
      throw error;
    }
    onDeleted();
    log.info("Deleted home volume {name}, which no session has used for {duration}", {
      name: nameOf(claim),
      duration: formatDuration(Date.now() - unusedSince),
    });
  }

  /** The home volume of a user stays while the user has any session, also one without a home volume. */
  async #sessionsOfUser(claim: V1PersistentVolumeClaim): Promise<string[]> {
    const user = claim.metadata?.labels?.[USER_LABEL] ?? "";
    const deployments = await this.#options.client.listDeployments(
      `${APP_LABEL}=${APP},${USER_LABEL}=${user}`,
    );
    return deployments.map(nameOf);
  }

  async #annotate(claim: V1PersistentVolumeClaim, unusedSince: string | null): Promise<void> {
    const { client, cache } = this.#options;
    const changed = await client.annotateClaim(nameOf(claim), { [UNUSED_SINCE_ANNOTATION]: unusedSince });
    if (changed) cache.put("claim", changed);
  }
}

/** Names of the claims that sessions of this agent use, also hibernated ones: those that they mount, and the home volumes of their users. */
export function usedClaims(cache: SessionCache): Set<string> {
  const objects: KubernetesObject[] = cache.sessionIds().flatMap((id) => {
    const { deployment, pods } = cache.session(id);
    return [...(deployment ? [deployment] : []), ...pods];
  });
  const users = new Set(objects.map(({ metadata }) => metadata?.labels?.[USER_LABEL]));
  const ofUsers = cache.claims().filter((claim) =>
    sessionIdOf(claim) === undefined && users.has(claim.metadata?.labels?.[USER_LABEL])
  );
  return new Set([...objects.flatMap(mountedClaims), ...ofUsers.map(nameOf)]);
}

/** Since when a home volume is unused, in milliseconds since 1970; `undefined` if that is not recorded. */
export function unusedSinceOf({ metadata }: V1PersistentVolumeClaim): number | undefined {
  const time = Date.parse(metadata?.annotations?.[UNUSED_SINCE_ANNOTATION] ?? "");
  return Number.isNaN(time) ? undefined : time;
}
