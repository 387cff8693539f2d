/**
 * Cache of the Kubernetes objects of this agent's sessions. It is the only source of observed state: readiness, hibernation, deletion and the
 * number of active sessions are all read here, without further requests. It holds only a copy, which a new list restores.
 * @module
 */
import type {
  KubernetesObject,
  V1Deployment,
  V1NetworkPolicy,
  V1PersistentVolumeClaim,
  V1Pod,
  V1Service,
} from "@kubernetes/client-node";
import { abortable } from "@std/async";
import type { KubernetesError } from "../common/errors.ts";
import { SESSION_LABEL, USER_LABEL } from "../model/names.ts";
import { claimsOf, type Entry, isOutdated, isSameVersion, uidOf } from "./cache_entry.ts";
import { EventLog, type SessionEvent } from "./event_log.ts";
import { ForeignObjects } from "./foreign_objects.ts";
import { type Kind, KINDS, type Kinds, reduce } from "./kinds.ts";
import { ObjectIndex } from "./object_index.ts";
import { mountedClaim, nameOf, wantsPod } from "./objects.ts";
import { agentOf, isSessionObject, sessionIdOf } from "./ownership.ts";
import { Waiters } from "./waiters.ts";

/** Last observed objects of one session. */
export interface SessionObjects {
  readonly deployment: V1Deployment | undefined;
  readonly service: V1Service | undefined;
  /** PVC of the home volume, which belongs to the session, or to its user and may be shared with other sessions. */
  readonly claim: V1PersistentVolumeClaim | undefined;
  readonly policy: V1NetworkPolicy | undefined;
  /** All pods, including those that are being deleted. */
  readonly pods: readonly V1Pod[];
  /** Kubernetes events of the pods and the claim, oldest first. */
  readonly events: readonly SessionEvent[];
}

/** Resource versions up to which all changes of a kind are in the cache. */
export interface ObservedVersions {
  readonly pod: number;
  readonly deployment: number;
}

/** Result of a check that {@linkcode SessionCache.waitFor} runs: the awaited value, or how long to wait at most before the next check. */
export type CheckResult<T> = { readonly value: T } | { readonly recheckInMs?: number };

/** Number of recent removals to remember, so that a late response to an earlier request does not restore a deleted object. */
const REMEMBERED_REMOVALS = 4096;

/** Options of a {@linkcode SessionCache}. */
export interface SessionCacheOptions {
  /** How long the API server may forbid to list or watch a kind before waits fail, in milliseconds. @default {10_000} */
  readonly forbiddenGraceMs?: number;
}

/** The agent's Role may just be created or changed. */
export const DEFAULT_FORBIDDEN_GRACE_MS = 10_000;

/** Cache of the objects of all sessions. */
export class SessionCache {
  readonly #agentLabels: readonly string[];
  /** Session id → `kind/name` → object; the key `undefined` holds the home volumes of users, which belong to no single session. */
  readonly #objects = new Map<string | undefined, Map<string, Entry>>();
  /** Uid → where the object is in the map above: its labels, and with them its session, can change. */
  readonly #places = new Map<string, { readonly sessionId: string | undefined; readonly key: string }>();
  /** Session id → Deployment, of the sessions that are running or starting. */
  readonly #running = new Map<string, V1Deployment>();
  /** Name of a claim → sessions whose Deployments and pods mount it. */
  readonly #mounting = new ObjectIndex<string>();
  readonly #foreign = new ForeignObjects();
  /** By name. */
  readonly #unwatchedClaims = new Map<string, V1PersistentVolumeClaim>();
  readonly #events = new EventLog();
  /** Uid → resource version at which an object was removed, or its labels no longer matched. */
  readonly #removed = new Map<string, number>();
  readonly #waiters: Waiters<Kind>;
  readonly #listeners = new Set<(sessionId: string) => void>();
  readonly #unlisted = new Set<Kind>(KINDS);
  readonly #synced = Promise.withResolvers<void>();
  #versions: ObservedVersions = { pod: 0, deployment: 0 };

  /** @param agentLabels values of the agent's label: this agent's, and those of agents whose sessions it adopts */
  constructor(
    agentLabels: string | readonly string[],
    { forbiddenGraceMs = DEFAULT_FORBIDDEN_GRACE_MS }: SessionCacheOptions = {},
  ) {
    this.#agentLabels = [agentLabels].flat();
    this.#waiters = new Waiters(forbiddenGraceMs);
  }

  /** Whether all kinds have been listed. */
  get isSynced(): boolean {
    return this.#unlisted.size === 0;
  }

  /** Resolves once all kinds have been listed; rejects with the signal's reason if it is aborted first. */
  async synced(signal: AbortSignal): Promise<void> {
    if (!this.isSynced) await abortable(this.#synced.promise, signal);
  }

  /** Objects of a session; all are absent for a session that does not exist. */
  session(sessionId: string): SessionObjects {
    const entries = this.#entries(sessionId);
    const first = <K extends Kind>(kind: K) =>
      entries.find((entry) => entry.kind === kind)?.object as Kinds[K] | undefined;
    const deployment = first("deployment");
    const userHome = this.#objects.get(undefined)?.get(`claim/${mountedClaim(deployment) ?? ""}`)?.object;
    const claim = first("claim") ?? userHome as V1PersistentVolumeClaim | undefined ??
      this.#unwatchedClaims.get(mountedClaim(deployment) ?? "");
    const pods = entries.filter((entry) => entry.kind === "pod").map((entry) => entry.object as V1Pod);
    const log = this.#events;
    return {
      deployment,
      service: first("service"),
      claim,
      policy: first("policy"),
      pods,
      // Computed on access, as most callers do not need them.
      get events() {
        return log.eventsOf([...pods, claim].map((object) => object?.metadata?.uid ?? ""));
      },
    };
  }

  /** Whether an object belongs to the session and to this agent. */
  owns(object: KubernetesObject, sessionId: string): boolean {
    return this.#sessionOf(object) === sessionId;
  }

  /** Whether an object of a session, or the home volume of its user, no longer exists. */
  isGone(object: KubernetesObject, sessionId: string): boolean {
    const place = this.#places.get(object.metadata?.uid ?? "");
    return !place || (place.sessionId !== undefined && place.sessionId !== sessionId);
  }

  /** The objects of sessions that this agent does not manage. */
  get foreign(): Pick<ForeignObjects, "agentOfSession" | "sessionsByAgent" | "mounting"> {
    return this.#foreign;
  }

  /** Whether a value of the agent's label is this agent's, or one of an agent whose sessions it adopts. */
  isOwnAgent(agentLabel: string): boolean {
    return this.#agentLabels.includes(agentLabel);
  }

  /** Whether the labels of an object make it one of the objects of this agent's sessions. */
  covers(kind: Kind, object: KubernetesObject): boolean {
    if (!isSessionObject(object)) return false;
    // The home volume of a user belongs to the sessions of all agents, whichever created it.
    if (kind === "claim" && !(SESSION_LABEL in (object.metadata?.labels ?? {}))) return true;
    return this.#sessionOf(object) !== undefined;
  }

  /** The claims of all home volumes that the watch covers. */
  claims(): V1PersistentVolumeClaim[] {
    return [...this.#objects.keys()].flatMap((id) => this.#entries(id))
      .flatMap(({ kind, object }) => kind === "claim" ? [object as V1PersistentVolumeClaim] : []);
  }

  /** Ids of all sessions with at least one object. */
  sessionIds(): string[] {
    return [...this.#objects.keys()].filter((id) => id !== undefined);
  }

  /** Resource versions up to which all changes are in the cache. */
  get versions(): ObservedVersions {
    return this.#versions;
  }

  /** Calls the listener after each change to a session; returns a function that removes it. */
  listen(listener: (sessionId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Number of sessions that are running or starting: their Deployment requests a pod. */
  activeSessions(): number {
    return this.#running.size;
  }

  /** The Deployment of a session that is running or starting. */
  runningDeployment(sessionId: string): V1Deployment | undefined {
    return this.#running.get(sessionId);
  }

  /** Sessions whose Deployment or pods mount a claim, even if they are being deleted. */
  sessionsMounting(claimName: string): string[] {
    return [...new Set(this.#mounting.get(claimName))];
  }

  /** Adds an object from the response to a write, so that callers see their own writes before the watch delivers them. */
  put(kind: Kind, object: KubernetesObject): void {
    this.#put({ kind, object: reduce(kind, object), source: "response" });
  }

  /** Adds an existing home volume that the watch does not cover, such as one of an earlier version of StreamSpace. */
  putUnwatchedClaim(claim: V1PersistentVolumeClaim): void {
    this.#unwatchedClaims.set(nameOf(claim), claim);
  }

  /** Applies a watch event. */
  change(kind: Kind, change: "put" | "remove", object: KubernetesObject): void {
    this.#setVersion(kind, object.metadata?.resourceVersion);
    if (change === "put") this.#put({ kind, object, source: "watch" });
    else this.#remove(kind, { object, version: object.metadata?.resourceVersion });
  }

  /** Applies a list of one kind: removes objects that it does not contain, unless a response to a later write contained them. */
  replace(kind: Kind, objects: readonly KubernetesObject[], version: string): void {
    this.#setVersion(kind, version);
    const present = new Set(objects.map((object) => object.metadata?.uid));
    for (const [uid, { sessionId, key }] of this.#places) {
      const entry = present.has(uid) ? undefined : this.#objects.get(sessionId)?.get(key);
      if (entry?.kind !== kind) continue;
      const isLater = entry.source === "response" &&
        Number(entry.object.metadata?.resourceVersion) > Number(version);
      if (!isLater) this.#remove(kind, { object: entry.object, version });
    }
    this.#foreign.retain(kind, present);
    for (const object of objects) this.#put({ kind, object, source: "list" });
    this.#unlisted.delete(kind);
    if (!this.isSynced) return;
    this.#synced.resolve();
    this.#waiters.wakeAll();
  }

  /** Sets whether the API server forbids to list or watch a kind, so that its cached objects may be outdated or missing. */
  setForbidden(kind: Kind, error: KubernetesError | undefined): void {
    this.#waiters.setBlocked(kind, error);
  }

  /** Adds a Kubernetes event. */
  putEvent(event: KubernetesObject): void {
    this.#events.put(event);
  }

  /**
   * Waits until a check of a session's objects returns a value. The check runs immediately, after each change to the session, and after the time
   * that its last run returned.
   *
   * @throws what `check` throws, the signal's reason, or the {@linkcode KubernetesError} of a kind that cannot be watched for some time
   */
  async waitFor<T>(
    sessionId: string,
    options: { check: (objects: SessionObjects) => CheckResult<T>; signal: AbortSignal },
  ): Promise<T> {
    const { check, signal } = options;
    using waiter = this.#waiters.begin(sessionId, signal);
    while (true) {
      signal.throwIfAborted();
      const result = check(this.session(sessionId));
      if ("value" in result) return result.value;
      await waiter.next(result.recheckInMs);
    }
  }

  #setVersion(kind: Kind, version: string | undefined): void {
    if (kind === "pod" || kind === "deployment") {
      this.#versions = { ...this.#versions, [kind]: Number(version) };
    }
  }

  #entries(sessionId: string | undefined): Entry[] {
    return [...this.#objects.get(sessionId)?.values() ?? []];
  }

  #put(entry: Entry): void {
    const { kind, object, source } = entry;
    const { uid = "", resourceVersion } = object.metadata ?? {};
    if (!this.covers(kind, object)) return this.#putForeign(entry);
    this.#foreign.delete(uid);
    if (source !== "list" && Number(resourceVersion) <= Number(this.#removed.get(uid))) return;
    this.#removed.delete(uid);
    const sessionId = this.#sessionOf(object);
    const key = `${kind}/${nameOf(object)}`;
    const place = this.#places.get(uid);
    if (place && place.sessionId !== sessionId) this.#evict(uid, object);
    const objects = this.#objects.get(sessionId) ?? new Map();
    const known: Entry | undefined = objects.get(key);
    if (isOutdated(entry, known)) return;
    if (source === "list" && isSameVersion(object, known?.object)) {
      objects.set(key, entry);
      return;
    }
    const notify = () => this.#notify(sessionId, object);
    if (kind === "pod" || kind === "claim") {
      this.#events.track(object, { replaces: known?.object, onEvent: notify });
    }
    const replaced = known?.object.metadata?.uid;
    if (replaced !== undefined) this.#places.delete(replaced);
    this.#setMounting(sessionId, { from: known, to: entry });
    objects.set(key, entry);
    this.#objects.set(sessionId, objects);
    this.#places.set(uid, { sessionId, key });
    if (kind === "deployment") this.#updateRunning(sessionId);
    notify();
  }

  /** An object whose labels no longer name a session of this agent is gone for the session. */
  #putForeign({ kind, object, source }: Entry): void {
    if (source === "response") return;
    this.#foreign.put(kind, object);
    const uid = object.metadata?.uid ?? "";
    const place = this.#places.get(uid);
    const known = place && this.#objects.get(place.sessionId)?.get(place.key);
    if (source === "watch" && known && isOutdated({ kind, object, source }, known)) return;
    this.#evict(uid, object);
  }

  #remove(
    kind: Kind,
    { object, version }: { object: KubernetesObject; version: string | undefined },
  ): void {
    const uid = object.metadata?.uid;
    if (uid === undefined) return;
    this.#foreign.delete(uid);
    if (!this.covers(kind, object) && !this.#places.has(uid)) return;
    this.#removed.set(uid, Number(version));
    const [oldest] = this.#removed.keys();
    if (this.#removed.size > REMEMBERED_REMOVALS && oldest !== undefined) this.#removed.delete(oldest);
    this.#evict(uid, object);
  }

  /** Removes an object by its uid: another one may have its name by now, which its late removal must not affect. */
  #evict(uid: string, object: KubernetesObject): void {
    this.#events.untrack(uid);
    const place = this.#places.get(uid);
    if (!place) return;
    const { sessionId, key } = place;
    this.#places.delete(uid);
    const objects = this.#objects.get(sessionId);
    this.#setMounting(sessionId, { from: objects?.get(key) });
    objects?.delete(key);
    if (objects?.size === 0) this.#objects.delete(sessionId);
    this.#updateRunning(sessionId);
    this.#notify(sessionId, object);
  }

  /** Another object with the name of the known one may replace it. */
  #setMounting(sessionId: string | undefined, { from, to }: { from: Entry | undefined; to?: Entry }): void {
    if (sessionId === undefined) return;
    if (from) this.#mounting.replace(uidOf(from), { from: claimsOf(from), value: sessionId });
    if (to) this.#mounting.replace(uidOf(to), { to: claimsOf(to), value: sessionId });
  }

  #updateRunning(sessionId: string | undefined): void {
    if (sessionId === undefined) return;
    const deployment = this.#entries(sessionId).find(({ kind }) => kind === "deployment")?.object;
    if (wantsPod(deployment)) this.#running.set(sessionId, deployment);
    else this.#running.delete(sessionId);
  }

  /** Session id; `undefined` if the object belongs to no session of this agent. */
  #sessionOf(object: KubernetesObject): string | undefined {
    const agent = agentOf(object);
    // The Go agent did not set the agent's label; this agent adopts its sessions.
    const isOurs = isSessionObject(object) && (agent === undefined || this.isOwnAgent(agent));
    return isOurs ? sessionIdOf(object) : undefined;
  }

  #notify(sessionId: string | undefined, object: KubernetesObject): void {
    if (sessionId === undefined) return this.#notifyUser(object);
    this.#waiters.wake(sessionId);
    for (const listener of this.#listeners) listener(sessionId);
  }

  /** Rechecks the waits for sessions of the user; a session without a Deployment may be one of them. */
  #notifyUser(claim: KubernetesObject): void {
    const user = claim.metadata?.labels?.[USER_LABEL];
    for (const sessionId of this.#waiters.sessionIds()) {
      const { deployment } = this.session(sessionId);
      if (!deployment || deployment.metadata?.labels?.[USER_LABEL] === user) this.#waiters.wake(sessionId);
    }
  }
}
