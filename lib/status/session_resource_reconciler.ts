/**
 * Maintains a Session object for each session in clusters with that kind. It compares the actual object with the desired one, so that a
 * missing, outdated or edited object is repaired. Commands neither wait for it nor fail because of it. The Deployment owns the object, so
 * that Kubernetes deletes both together.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { KubernetesObject, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { ReportedStatuses } from "../control_plane/reported_statuses.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { CustomCollection } from "../kubernetes/custom_collection.ts";
import type { CustomObjectApi, PatchOperation } from "../kubernetes/client.ts";
import { isAlive } from "../kubernetes/objects.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { SESSION_ANNOTATION, SESSION_LABEL } from "../model/names.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { type SessionResource, sessionResource, sessionResourceStatus } from "./session_resource.ts";

/** Objects that are reconciled at the same time; the rest of the API server's capacity is for commands. */
const CONCURRENCY = 4;
const RETRY = { firstMs: 2000, longestMs: 60_000 };

/** What the reconciler needs. */
export interface SessionResourceReconcilerOptions {
  readonly cache: SessionCache;
  readonly reported: ReportedStatuses;
  readonly api: CustomObjectApi;
  /** Changes of a session within this time are written together, in milliseconds. @default {500} */
  readonly batchMs?: number;
}

/** What a Session object is built from. */
interface Source {
  readonly lastReported: SessionStatus;
  readonly deployment: V1Deployment;
  readonly pods: readonly V1Pod[];
}

/** Keeps the Session objects of this agent up to date. */
export class SessionResourceReconciler {
  readonly #options: SessionResourceReconcilerOptions;
  readonly #collection = new CustomCollection({
    resource: "sessions",
    onList: () => this.#enqueueAll(),
    onChange: (object) => this.#enqueueOwner(object),
  });
  readonly #semaphore = new Semaphore(CONCURRENCY);
  /** Sessions that are being reconciled, and whether they changed since. */
  readonly #queue = new Map<string, { isDue: boolean }>();
  readonly #forbidden = new RepeatFilter();
  /** Absent before the start. */
  #signal: AbortSignal | undefined;

  constructor(options: SessionResourceReconcilerOptions) {
    this.#options = options;
  }

  /** Watches the Session objects until the signal is aborted. */
  async follow(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    await this.#collection.follow(transport, options);
  }

  /** Reconciles the Session objects until the signal is aborted. Call it when the last reported statuses are known. */
  start(signal: AbortSignal): void {
    const { cache, reported } = this.#options;
    const enqueue = (sessionId: string) => this.#enqueue(sessionId);
    const stops = [cache.listen(enqueue), reported.listen(enqueue)];
    signal.addEventListener("abort", () => stops.forEach((stop) => stop()), { once: true });
    this.#signal = signal;
    this.#enqueueAll();
  }

  #enqueueAll(): void {
    for (const sessionId of this.#options.cache.sessionIds()) this.#enqueue(sessionId);
  }

  #enqueueOwner({ metadata }: KubernetesObject): void {
    const sessionId = metadata?.annotations?.[SESSION_ANNOTATION] ?? metadata?.labels?.[SESSION_LABEL];
    if (sessionId !== undefined) this.#enqueue(sessionId);
  }

  #enqueue(sessionId: string): void {
    if (!this.#signal || this.#signal.aborted || !this.#collection.isServed) return;
    const entry = this.#queue.get(sessionId);
    if (entry) entry.isDue = true;
    else void this.#reconcileUntilDone(sessionId, this.#signal);
  }

  /** Runs once per session at a time, so that a later state is never overwritten by an earlier one. */
  async #reconcileUntilDone(sessionId: string, signal: AbortSignal): Promise<void> {
    const entry = { isDue: true };
    this.#queue.set(sessionId, entry);
    const { batchMs = DEFAULT_TIMINGS.sessionObjectBatchMs } = this.#options;
    const backoff = new Backoff(RETRY);
    let pauseMs = 0;
    try {
      while (entry.isDue) {
        await delay(batchMs + pauseMs, { signal });
        const reconcile = () => {
          entry.isDue = false;
          return this.#reconcile(sessionId);
        };
        const isDone = await this.#semaphore.run(() => this.#attempt(sessionId, reconcile), signal);
        if (isDone) backoff.reset();
        else entry.isDue = true;
        pauseMs = isDone ? 0 : backoff.next();
      }
    } catch {
      // The agent is stopping.
    } finally {
      this.#queue.delete(sessionId);
    }
  }

  /** Returns whether no retry is needed. A rejected write is repeated only when the session changes. */
  async #attempt(sessionId: string, reconcile: () => Promise<void>): Promise<boolean> {
    try {
      await reconcile();
      this.#forbidden.reset();
      return true;
    } catch (error) {
      const reason = messageOf(error);
      if (hasStatus(error, 403) && this.#forbidden.isNew("forbidden")) {
        log.warn("Cannot write Session objects: {reason}", { reason });
      } else log.debug("Cannot write the Session object of {sessionId}: {reason}", { sessionId, reason });
      return !(error instanceof KubernetesError && error.isTransient());
    }
  }

  async #reconcile(sessionId: string): Promise<void> {
    const { api } = this.#options;
    const source = this.#source(sessionId);
    if (!source) return;
    const desired = sessionResource(sessionId, source.deployment);
    const { name } = desired.metadata;
    const actual = this.#collection.get(name);
    if (!actual) return await this.#writeStatus(sessionId, await api.create(desired));
    if (!this.#isOurs(actual, { sessionId, deployment: source.deployment })) return;
    const operations = changes(actual, desired);
    const object = operations.length === 0 ? actual : await api.patch(name, operations);
    await this.#writeStatus(sessionId, object);
  }

  /** Reads the source again, as it may have changed while the object was written. */
  async #writeStatus(sessionId: string, object: KubernetesObject): Promise<void> {
    const source = this.#source(sessionId);
    if (!source) return;
    const { name = "", uid, generation = 0 } = object.metadata ?? {};
    const current = asRecord((object as { status?: unknown }).status);
    const status = sessionResourceStatus(source, {
      lastReported: source.lastReported,
      generation,
      conditions: current?.conditions,
      now: new Date(),
    });
    if (isDeepStrictEqual(current, status)) return;
    await this.#options.api.patchStatus(name, [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "add", path: "/status", value: status },
    ]);
  }

  /** `undefined` for a session that is being deleted, or whose status was not reported yet. */
  #source(sessionId: string): Source | undefined {
    const { deployment, pods } = this.#options.cache.session(sessionId);
    const lastReported = this.#options.reported.get(sessionId);
    return lastReported && isAlive(deployment) ? { lastReported, deployment, pods } : undefined;
  }

  /**
   * Whether the agent may change an object. An object that the session's Deployment owns is ours, even if its labels were edited. An object of
   * a previous Deployment is about to be deleted, and is created again after that.
   */
  #isOurs(object: KubernetesObject, session: { sessionId: string; deployment: V1Deployment }): boolean {
    const { deletionTimestamp, ownerReferences = [] } = object.metadata ?? {};
    if (deletionTimestamp) return false;
    const owners = ownerReferences.filter(({ kind }) => kind === "Deployment").map(({ uid }) => uid);
    if (owners.length === 0) return this.#options.cache.owns(object, session.sessionId);
    return owners.includes(session.deployment.metadata?.uid ?? "");
  }
}

/** The patch from the actual to the desired object; labels, annotations and owners that others added stay. */
function changes(actual: KubernetesObject, { metadata, spec }: SessionResource): PatchOperation[] {
  const { uid, labels, annotations, ownerReferences = [] } = actual.metadata ?? {};
  const [owner] = metadata.ownerReferences;
  const otherOwners = ownerReferences.filter((one) => one.uid !== owner.uid);
  const fields: Array<[path: string, actual: unknown, desired: unknown]> = [
    ["/metadata/labels", labels, { ...labels, ...metadata.labels }],
    ["/metadata/annotations", annotations, { ...annotations, ...metadata.annotations }],
    ["/metadata/ownerReferences", ownerReferences, [...otherOwners, owner]],
    ["/spec", (actual as { spec?: unknown }).spec, spec],
  ];
  const operations = fields.filter(([_, actual, desired]) => !isDeepStrictEqual(actual, desired))
    .map(([path, _, value]): PatchOperation => ({ op: "add", path, value }));
  return operations.length === 0 ? [] : [{ op: "test", path: "/metadata/uid", value: uid }, ...operations];
}
