/**
 * Maintains a Session object for each session in clusters with that kind. It compares the agent's fields of the actual object with the desired
 * ones, so that a missing, outdated or edited object is repaired; fields of others stay. The desired state in the spec is written only when it
 * changes, because others request another state there. Commands neither wait for the object nor fail because of it. The Deployment owns it, so
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
import type { CustomObjectApi } from "../kubernetes/client.ts";
import type { PatchOperation } from "../kubernetes/collection.ts";
import { isAlive } from "../kubernetes/objects.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { DESIRED_STATE_ANNOTATION, SESSION_ANNOTATION, SESSION_LABEL } from "../model/names.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import {
  requestedState,
  type SessionResource,
  sessionResource,
  sessionResourceStatus,
} from "./session_resource.ts";

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

/** A state that somebody set in the spec of a Session object. */
export interface StateRequest {
  readonly sessionId: string;
  /** Untrusted. */
  readonly state: unknown;
  /** Generation of the spec. */
  readonly generation: number;
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
    onList: () => {
      // The kind may have another schema by now.
      this.#pruned.clear();
      this.#enqueueAll();
    },
    onChange: (object) => this.#enqueueOwner(object),
  });
  readonly #semaphore = new Semaphore(CONCURRENCY);
  /** Sessions that are being reconciled, and whether they changed since. */
  readonly #queue = new Map<string, { isDue: boolean }>();
  readonly #forbidden = new RepeatFilter();
  /** Paths of fields that the schema of the kind lacks, so that the API server drops them. */
  readonly #pruned = new Set<string>();
  /** The last state that was requested of a session, until the session has it. */
  readonly #requests = new Map<string, { readonly state: unknown; isRunning: boolean }>();
  #carryOut: ((request: StateRequest) => Promise<boolean>) | undefined;
  /** Absent before the start. */
  #signal: AbortSignal | undefined;

  constructor(options: SessionResourceReconcilerOptions) {
    this.#options = options;
  }

  /** Watches the Session objects until the signal is aborted. */
  async follow(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    await this.#collection.follow(transport, options);
  }

  /** Sets what is called when somebody requests another state in a spec; it returns whether the request is rejected. Before, requests are ignored. */
  onStateRequest(carryOut: (request: StateRequest) => Promise<boolean>): void {
    this.#carryOut = carryOut;
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
    if (!actual) {
      const created = await api.create(desired);
      this.#observePruned(created, changes(created, desired));
      return await this.#writeStatus(sessionId, created);
    }
    if (!this.#isOurs(actual, { sessionId, deployment: source.deployment })) return;
    const operations = this.#withoutPruned(changes(actual, desired));
    const object = operations.length === 0
      ? actual
      : await api.patch(name, [testOfUid(actual), ...operations]);
    this.#observePruned(object, changes(object, desired));
    await this.#writeStatus(sessionId, object);
    this.#checkRequest(sessionId, { object, deployment: source.deployment });
  }

  #withoutPruned(operations: readonly PatchOperation[]): PatchOperation[] {
    return operations.filter(({ path }) => !this.#pruned.has(path));
  }

  #observePruned(object: KubernetesObject, operations: readonly PatchOperation[]): void {
    for (const { path } of operations) if (fieldAt(object, path) === undefined) this.#pruned.add(path);
  }

  #checkRequest(
    sessionId: string,
    { object, deployment }: { object: KubernetesObject; deployment: V1Deployment },
  ): void {
    const state = requestedState(object, deployment);
    const last = this.#requests.get(sessionId);
    if (state === undefined) this.#requests.delete(sessionId);
    else if (this.#carryOut && !last?.isRunning && state !== last?.state) {
      const { name = "", generation = 0 } = object.metadata ?? {};
      const request = { state, isRunning: true };
      this.#requests.set(sessionId, request);
      void this.#carryOut({ sessionId, state, generation }).then(async (isRejected) => {
        request.isRunning = false;
        if (!isRejected) this.#requests.delete(sessionId);
        else if (isAlive(deployment)) await this.#revertState(name, { state, deployment });
      }).catch((error) => {
        const reason = messageOf(error);
        log.debug("Cannot reset the state of the Session object of {sessionId}: {reason}", {
          sessionId,
          reason,
        });
      });
    }
  }

  /** Shows that a request was rejected, and that the same one can be made again. */
  async #revertState(
    name: string,
    { state, deployment }: { state: unknown; deployment: V1Deployment },
  ): Promise<void> {
    await this.#options.api.patch(name, [
      { op: "test", path: "/spec/state", value: state },
      { op: "add", path: "/spec/state", value: sessionResource("", deployment).spec.state },
    ]);
  }

  /** Reads the source again, as it may have changed while the object was written. */
  async #writeStatus(sessionId: string, object: KubernetesObject): Promise<void> {
    const source = this.#source(sessionId);
    if (!source) return;
    const { name = "", generation = 0 } = object.metadata ?? {};
    const current = asRecord((object as { status?: unknown }).status);
    const status = sessionResourceStatus(source, {
      lastReported: source.lastReported,
      generation,
      conditions: current?.conditions,
      now: new Date(),
    });
    const conditions = [...status.conditions, ...conditionsOfOthers(current?.conditions)];
    const changesOf = (actual: Readonly<Record<string, unknown>> | undefined) =>
      this.#withoutPruned(fieldChanges("/status", actual, { ...status, conditions }));
    const operations = changesOf(current);
    if (operations.length === 0) return;
    const written = await this.#options.api.patchStatus(name, [testOfUid(object), ...operations]);
    this.#observePruned(written, changesOf(asRecord((written as { status?: unknown }).status)));
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

/** The patch from the actual to the desired object; what others added stays. */
function changes(actual: KubernetesObject, { metadata, spec }: SessionResource): PatchOperation[] {
  const { labels, annotations, ownerReferences = [] } = actual.metadata ?? {};
  const [owner] = metadata.ownerReferences;
  const owners = [...ownerReferences.filter((one) => one.uid !== owner.uid), owner];
  // Otherwise somebody else may have set the state.
  const isStateOurs = annotations?.[DESIRED_STATE_ANNOTATION] !== spec.state;
  const { state, ...others } = spec;
  const actualSpec = asRecord((actual as { spec?: unknown }).spec);
  return [
    ...fieldChanges("/metadata/labels", labels, metadata.labels),
    ...fieldChanges("/metadata/annotations", annotations, metadata.annotations),
    ...fieldChanges("/metadata", { ownerReferences }, { ownerReferences: owners }),
    ...fieldChanges("/spec", actualSpec, isStateOurs ? { state, ...others } : others),
  ];
}

/** The operations that set the fields of an object that differ. */
function fieldChanges(
  path: string,
  actual: Readonly<Record<string, unknown>> | undefined,
  desired: object,
): PatchOperation[] {
  if (!actual) return [{ op: "add", path, value: desired }];
  return Object.entries(desired).filter(([key, value]) => !isDeepStrictEqual(actual[key], value))
    .map(([key, value]): PatchOperation => ({ op: "add", path: `${path}/${escapeKey(key)}`, value }));
}

function conditionsOfOthers(conditions: unknown): unknown[] {
  const all: unknown[] = Array.isArray(conditions) ? conditions : [];
  return all.filter((one) => !["Ready", "Hibernated"].includes(String(asRecord(one)?.type)));
}

function testOfUid({ metadata }: KubernetesObject): PatchOperation {
  return { op: "test", path: "/metadata/uid", value: metadata?.uid };
}

/** Source: RFC 6901, section 3 */
function escapeKey(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

function fieldAt(object: KubernetesObject, path: string): unknown {
  const keys = path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  return keys.reduce<unknown>((value, key) => asRecord(value)?.[key], object);
}
