/**
 * Shows each session as an object of the kind Session, where the cluster has that kind. It compares what there is with what should be, so that
 * a lost, stale or edited object is put right, and writes beside the commands: none of them waits for it or fails by it. An object goes with
 * its session's Deployment, by Kubernetes' own garbage collection.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { KubernetesObject, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { delay } from "@std/async";
import type { SessionStatus } from "../control_plane/protocol.ts";
import { Backoff } from "../common/backoff.ts";
import type { ReportedStatuses } from "../control_plane/reported_statuses.ts";
import { KubernetesError, messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { CustomCollection } from "../kubernetes/custom_collection.ts";
import type { CustomObjectApi, PatchOperation } from "../kubernetes/custom_objects.ts";
import { isAlive } from "../kubernetes/objects.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { SESSION_ANNOTATION, SESSION_LABEL } from "../model/names.ts";
import { type SessionResource, sessionResource, sessionResourceStatus } from "./session_resource.ts";

/** Sessions that are written at once: the commands' requests have the rest of the API server. */
const CONCURRENCY = 4;
const RETRY = { firstMs: 2000, longestMs: 60_000 };

/** What the mirror listens to and writes through. */
export interface MirrorOptions {
  readonly cache: SessionCache;
  readonly reported: ReportedStatuses;
  readonly api: CustomObjectApi;
  /** Changes of a session within this time are written together, in milliseconds. @default {500} */
  readonly batchMs?: number;
}

/** Keeps the Session objects of this agent's sessions. */
export class Mirror {
  readonly #options: MirrorOptions;
  readonly #collection = new CustomCollection({
    resource: "sessions",
    onList: () => this.#lookAtAll(),
    onChange: (object) => this.#lookAt(object),
  });
  readonly #semaphore = new Semaphore(CONCURRENCY);
  /** Sessions that are looked at, and whether that has to be done again. */
  readonly #looks = new Map<string, { isDue: boolean }>();
  /** Ends the looks; there are none before it is known what was told of the sessions. */
  #signal: AbortSignal | undefined;
  readonly #refusals = new RepeatFilter();

  constructor(options: MirrorOptions) {
    this.#options = options;
  }

  /** Follows the Session objects until the signal is aborted. */
  async follow(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    await this.#collection.follow(transport, options);
  }

  /** Shows the sessions until the signal is aborted. To be called once it is known what the Control Plane was told of them. */
  start(signal: AbortSignal): void {
    const { cache, reported } = this.#options;
    const look = (sessionId: string) => this.#look(sessionId);
    const stops = [cache.listen(look), reported.listen(look)];
    signal.addEventListener("abort", () => stops.forEach((stop) => stop()), { once: true });
    this.#signal = signal;
    this.#lookAtAll();
  }

  #lookAtAll(): void {
    for (const sessionId of this.#options.cache.sessionIds()) this.#look(sessionId);
  }

  #lookAt({ metadata }: KubernetesObject): void {
    const sessionId = metadata?.annotations?.[SESSION_ANNOTATION] ?? metadata?.labels?.[SESSION_LABEL];
    if (sessionId !== undefined) this.#look(sessionId);
  }

  #look(sessionId: string): void {
    if (!this.#signal || this.#signal.aborted || !this.#collection.isServed) return;
    const look = this.#looks.get(sessionId);
    if (look) look.isDue = true;
    else void this.#lookUntilDone(sessionId, this.#signal);
  }

  /** One at a time for each session, so that what is newer is written later. */
  async #lookUntilDone(sessionId: string, signal: AbortSignal): Promise<void> {
    const look = { isDue: true };
    this.#looks.set(sessionId, look);
    const backoff = new Backoff(RETRY);
    let pauseMs = 0;
    try {
      while (look.isDue) {
        await delay((this.#options.batchMs ?? DEFAULT_TIMINGS.sessionObjectBatchMs) + pauseMs, { signal });
        const write = () => {
          look.isDue = false;
          return this.#write(sessionId);
        };
        const isDone = await this.#semaphore.run(() => this.#attempt(write), signal);
        if (isDone) backoff.reset();
        else look.isDue = true;
        pauseMs = isDone ? 0 : backoff.next();
      }
    } catch {
      // Only the end of the agent ends a look in the middle.
    } finally {
      this.#looks.delete(sessionId);
    }
  }

  /** Gives whether there is nothing left to try: what is refused is tried again at the session's next change. */
  async #attempt(write: () => Promise<void>): Promise<boolean> {
    try {
      await write();
      this.#refusals.reset();
      return true;
    } catch (error) {
      const reason = messageOf(error);
      const status = error instanceof KubernetesError ? error.status : undefined;
      if (status === 403 && this.#refusals.isNew("forbidden")) {
        log.warn("Cannot write Session objects: {reason}", { reason });
      } else log.debug("A Session object was not written: {reason}", { reason });
      return !(error instanceof KubernetesError && error.isTransient());
    }
  }

  async #write(sessionId: string): Promise<void> {
    const { api } = this.#options;
    const shown = this.#shown(sessionId);
    if (!shown) return;
    const wanted = sessionResource(sessionId, shown.deployment);
    const { name } = wanted.metadata;
    const known = this.#collection.get(name);
    if (!known) return await this.#writeStatus(sessionId, await api.create(wanted));
    if (!this.#isToBeKept(known, { sessionId, deployment: shown.deployment })) return;
    const operations = changes(known, wanted);
    await this.#writeStatus(sessionId, operations.length === 0 ? known : await api.patch(name, operations));
  }

  /** With the newest there is to say, also of what happened while the object was written. */
  async #writeStatus(sessionId: string, object: KubernetesObject): Promise<void> {
    const shown = this.#shown(sessionId);
    if (!shown) return;
    const { name = "", uid, generation = 0 } = object.metadata ?? {};
    const earlier = asRecord((object as { status?: unknown }).status);
    const context = {
      lastReported: shown.told,
      generation,
      conditions: earlier?.conditions,
      now: new Date(),
    };
    const status = sessionResourceStatus(shown, context);
    if (isDeepStrictEqual(earlier, status)) return;
    await this.#options.api.patchStatus(name, [
      { op: "test", path: "/metadata/uid", value: uid },
      { op: "add", path: "/status", value: status },
    ]);
  }

  /** What there is to show of a session: nothing once it is on its way out, nor before anything was told of it. */
  #shown(
    sessionId: string,
  ): { told: SessionStatus; deployment: V1Deployment; pods: readonly V1Pod[] } | undefined {
    const { deployment, pods } = this.#options.cache.session(sessionId);
    const told = this.#options.reported.get(sessionId);
    return told && isAlive(deployment) ? { told, deployment, pods } : undefined;
  }

  /**
   * What belongs to the session's Deployment is this agent's, whatever others made of its labels. An object of others is theirs, and one of an
   * earlier Deployment is about to go: its end is seen, and then another one is made.
   */
  #isToBeKept(known: KubernetesObject, of: { sessionId: string; deployment: V1Deployment }): boolean {
    const { deletionTimestamp, ownerReferences = [] } = known.metadata ?? {};
    const owners = ownerReferences.filter(({ kind }) => kind === "Deployment").map(({ uid }) => uid);
    const isOurs = owners.length === 0 && this.#options.cache.owns(known, of.sessionId);
    return !deletionTimestamp && (isOurs || owners.includes(of.deployment.metadata?.uid ?? ""));
  }
}

/** What has to be changed about an object; labels, annotations and owners that others added stay. */
function changes(known: KubernetesObject, { metadata, spec }: SessionResource): PatchOperation[] {
  const { uid, labels, annotations, ownerReferences = [] } = known.metadata ?? {};
  const [owner] = metadata.ownerReferences;
  const others = ownerReferences.filter((one) => one.uid !== owner.uid);
  const parts: Array<[path: string, is: unknown, should: unknown]> = [
    ["/metadata/labels", labels, { ...labels, ...metadata.labels }],
    ["/metadata/annotations", annotations, { ...annotations, ...metadata.annotations }],
    ["/metadata/ownerReferences", ownerReferences, [...others, owner]],
    ["/spec", (known as { spec?: unknown }).spec, spec],
  ];
  const operations = parts.filter(([_, is, should]) => !isDeepStrictEqual(is, should))
    .map(([path, _, value]): PatchOperation => ({ op: "add", path, value }));
  return operations.length === 0 ? [] : [{ op: "test", path: "/metadata/uid", value: uid }, ...operations];
}
