/**
 * What the cluster holds of this agent's sessions, kept up to date by one list+watch a kind. Nobody else lists or polls: readiness,
 * hibernation, deletion and the count of active sessions are all read here. What is kept is only a copy of the cluster's state:
 * losing it costs one list.
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
import {
  AGENT_LABEL,
  APP,
  APP_LABEL,
  SESSION_ANNOTATION,
  SESSION_LABEL,
  sessionName,
  USER_LABEL,
} from "../manifests/names.ts";
import { EVENT_SELECTOR, EventLog, type SessionEvent } from "./event_log.ts";
import { isAlive, mountedClaim, nameOf, wantsPod } from "./objects.ts";
import type { Transport } from "./transport.ts";
import { Waiters } from "./waiters.ts";
import { list, watch, type WatchObserver } from "./watch.ts";

/** The objects of one session as last seen. */
export interface SessionObjects {
  readonly deployment: V1Deployment | undefined;
  readonly service: V1Service | undefined;
  /** The home of the session alone, or the one that it shares with the other sessions of its user. */
  readonly claim: V1PersistentVolumeClaim | undefined;
  readonly policy: V1NetworkPolicy | undefined;
  /** All pods, also those on their way out. */
  readonly pods: readonly V1Pod[];
  /** What the cluster tells about the pods and the claim, oldest first. */
  readonly events: readonly SessionEvent[];
}

interface Kinds {
  deployment: V1Deployment;
  service: V1Service;
  claim: V1PersistentVolumeClaim;
  policy: V1NetworkPolicy;
  pod: V1Pod;
}

type Kind = keyof Kinds;

/** What a waiting caller finds in a session's objects: its answer, or how long that may stay true without a change. */
export type Finding<T> = { readonly answer: T } | { readonly lookAgainInMs?: number };

/** Where the API keeps each kind. */
export const COLLECTIONS: Readonly<Record<Kind, { api: string; resource: string }>> = {
  deployment: { api: "/apis/apps/v1", resource: "deployments" },
  service: { api: "/api/v1", resource: "services" },
  claim: { api: "/api/v1", resource: "persistentvolumeclaims" },
  policy: { api: "/apis/networking.k8s.io/v1", resource: "networkpolicies" },
  pod: { api: "/api/v1", resource: "pods" },
};

const KINDS = Object.keys(COLLECTIONS) as Kind[];
/** Objects whose end was seen lately, so that a late answer to an earlier request does not bring them back. */
const REMEMBERED_REMOVALS = 4096;

/** Resources without a view of which the agent knows no session. */
export const WATCHED_RESOURCES: readonly string[] = KINDS.map((kind) => COLLECTIONS[kind].resource);

/** What of the cluster to follow, and for how long. */
export interface FollowOptions {
  readonly namespace: string;
  readonly signal: AbortSignal;
  readonly observer?: WatchObserver;
}

/** The shared view of all sessions' objects. */
export class SessionCache {
  readonly #agentLabel: string;
  /** Session id → kind and name → object. */
  readonly #sessions = new Map<string, Map<string, { kind: Kind; object: KubernetesObject }>>();
  readonly #events = new EventLog();
  /** Homes of users, by name: they are of no session alone. */
  readonly #homes = new Map<string, V1PersistentVolumeClaim>();
  readonly #removed = new Set<string>();
  readonly #waiters = new Waiters();
  readonly #listeners = new Set<(sessionId: string) => void>();
  readonly #unlisted = new Set<Kind>(KINDS);
  readonly #synced = Promise.withResolvers<void>();

  /** @param agentLabel value of the agent's label: objects of another agent are left out */
  constructor(agentLabel: string) {
    this.#agentLabel = agentLabel;
  }

  /** Resolves once everything that the cluster holds is known; rejects with the signal's reason if that comes first. */
  async synced(signal: AbortSignal): Promise<void> {
    if (this.#unlisted.size > 0) await abortable(this.#synced.promise, signal);
  }

  /** Follows the cluster until the signal is aborted. */
  async follow(transport: Transport, options: FollowOptions): Promise<void> {
    const watches = KINDS.map((kind) =>
      watch<KubernetesObject>(transport, {
        ...this.#collection(kind, options),
        onChange: (change, object) => change === "put" ? this.put(kind, object) : this.#remove(kind, object),
        observer: options.observer,
      })
    );
    await Promise.all([...watches, this.#followEvents(transport, options)]);
  }

  /**
   * Takes in what the cluster holds now, once.
   *
   * @throws {KubernetesError} when a list is refused or not answered
   */
  async load(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    await Promise.all(KINDS.map((kind) => list(transport, this.#collection(kind, options))));
    await list(transport, this.#eventCollection(options)).catch(() => {});
  }

  /** Events only tell why: they come after the objects that they are about, and sessions start without them, too. */
  async #followEvents(
    transport: Transport,
    options: { namespace: string; signal: AbortSignal },
  ): Promise<void> {
    await this.synced(options.signal).catch(() => {});
    await watch<KubernetesObject>(transport, {
      ...this.#eventCollection(options),
      // A Role without this right is a choice: one line in the log is enough.
      reminderMs: Infinity,
      onChange: (change, event) => change === "put" && this.#events.put(event),
    });
  }

  /** The objects of a session; all absent for one that does not exist. */
  session(sessionId: string): SessionObjects {
    const entries = [...this.#sessions.get(sessionId)?.values() ?? []];
    const first = <K extends Kind>(kind: K) =>
      entries.find((entry) => entry.kind === kind)?.object as Kinds[K] | undefined;
    const deployment = first("deployment");
    const claim = first("claim") ?? this.#homes.get(mountedClaim(deployment) ?? "");
    const pods = entries.filter((entry) => entry.kind === "pod").map((entry) => entry.object as V1Pod);
    const told = this.#events;
    return {
      deployment,
      service: first("service"),
      claim,
      policy: first("policy"),
      pods,
      // Looked up when it is asked for: most who look at a session do not.
      get events() {
        return told.about([...pods, claim].map((object) => object?.metadata?.uid ?? ""));
      },
    };
  }

  /** Whether an object is one of this agent's for the session. */
  owns(object: KubernetesObject, sessionId: string): boolean {
    return this.#sessionOf(object) === sessionId;
  }

  /** Whether nothing is left of an object that a session had or waits for. */
  isGone(object: KubernetesObject, sessionId: string): boolean {
    const { deployment, service, claim, policy, pods } = this.session(sessionId);
    return [deployment, service, claim, policy, ...pods, ...this.#homes.values()]
      .every((known) => known?.metadata?.uid !== object.metadata?.uid);
  }

  /** Whether a claim is mounted by another session, too, that is not on its way out. */
  isShared(claimName: string, sessionId: string): boolean {
    return this.sessionIds().some((other) => {
      const { deployment } = this.session(other);
      return other !== sessionId && isAlive(deployment) && mountedClaim(deployment) === claimName;
    });
  }

  /** The sessions of which anything exists. */
  sessionIds(): string[] {
    return [...this.#sessions.keys()];
  }

  /** Calls the listener at each change of any session; gives a function that ends that. */
  listen(listener: (sessionId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How many sessions run or are about to: those whose Deployment wants a pod. */
  activeSessions(): number {
    return this.sessionIds().filter((id) => wantsPod(this.session(id).deployment)).length;
  }

  /** Takes over an object that the API just answered with, so that whoever wrote it also finds it. */
  put<K extends Kind>(kind: K, object: Kinds[K] | KubernetesObject): void {
    if (this.#removed.has(object.metadata?.uid ?? "")) return;
    const sessionId = this.#sessionOf(object);
    if (sessionId === undefined) {
      if (kind === "claim" && this.#isOurs(object)) this.#putHome(object as Kinds["claim"]);
      return;
    }
    const objects = this.#sessions.get(sessionId) ?? new Map();
    const key = keyOf(kind, object);
    const earlier: KubernetesObject | undefined = objects.get(key)?.object;
    if (isOlder(object, earlier)) return;
    if (kind === "pod" || kind === "claim") {
      this.#events.know(object, { instead: earlier, onNews: () => this.#notify(sessionId) });
    }
    objects.set(key, { kind, object });
    this.#sessions.set(sessionId, objects);
    this.#notify(sessionId);
  }

  /**
   * Waits until a look at a session's objects finds what it wants; it looks at each change of the session.
   *
   * @throws what `look` throws, or the signal's reason
   */
  async waitFor<T>(
    sessionId: string,
    options: { look: (objects: SessionObjects) => Finding<T>; signal: AbortSignal },
  ): Promise<T> {
    const { look, signal } = options;
    while (true) {
      signal.throwIfAborted();
      const finding = look(this.session(sessionId));
      if ("answer" in finding) return finding.answer;
      await this.#waiters.next(sessionId, { ...finding, signal });
    }
  }

  #collection(kind: Kind, { namespace, signal }: { namespace: string; signal: AbortSignal }) {
    const { api, resource } = COLLECTIONS[kind];
    return {
      path: `${api}/namespaces/${namespace}/${resource}`,
      selector: { labelSelector: `${APP_LABEL}=${APP}` },
      onList: (objects: readonly KubernetesObject[], version: string) =>
        this.#replace(kind, objects, version),
      signal,
    };
  }

  #eventCollection({ namespace, signal }: { namespace: string; signal: AbortSignal }) {
    return {
      path: `/api/v1/namespaces/${namespace}/events`,
      selector: { fieldSelector: EVENT_SELECTOR },
      onList: (events: readonly KubernetesObject[]) => events.forEach((event) => this.#events.put(event)),
      signal,
    };
  }

  /** What a list lacks is gone, unless it was put here after the list was made. */
  #replace(kind: Kind, objects: readonly KubernetesObject[], version: string): void {
    const present = new Set(objects.map((object) => object.metadata?.uid));
    const ofSessions = [...this.#sessions.values()].flatMap((entries) => [...entries.values()]);
    const homes = [...this.#homes.values()].map((object) => ({ kind: "claim" as const, object }));
    for (const { object } of [...ofSessions, ...homes].filter((entry) => entry.kind === kind)) {
      const isNewer = Number(object.metadata?.resourceVersion) > Number(version);
      if (!present.has(object.metadata?.uid) && !isNewer) this.#remove(kind, object);
    }
    for (const object of objects) this.put(kind, object);
    this.#unlisted.delete(kind);
    if (this.#unlisted.size === 0) this.#synced.resolve();
  }

  #remove(kind: Kind, object: KubernetesObject): void {
    const sessionId = this.#sessionOf(object);
    const uid = object.metadata?.uid;
    if (uid === undefined || !this.#isOurs(object)) return;
    this.#removed.add(uid);
    const [oldest] = this.#removed;
    if (this.#removed.size > REMEMBERED_REMOVALS && oldest !== undefined) this.#removed.delete(oldest);
    this.#events.forget(uid);
    if (sessionId === undefined) return this.#removeHome(object);
    const objects = this.#sessions.get(sessionId);
    const key = keyOf(kind, object);
    // A namesake that came since is another object: the late end of the earlier one does not touch it.
    if (objects?.get(key)?.object.metadata?.uid !== uid) return;
    objects.delete(key);
    if (objects.size === 0) this.#sessions.delete(sessionId);
    this.#notify(sessionId);
  }

  #putHome(home: V1PersistentVolumeClaim): void {
    const name = nameOf(home);
    const earlier = this.#homes.get(name);
    if (isOlder(home, earlier)) return;
    this.#events.know(home, { instead: earlier, onNews: () => this.#notifyUser(home) });
    this.#homes.set(name, home);
    this.#notifyUser(home);
  }

  #removeHome(home: V1PersistentVolumeClaim): void {
    const name = nameOf(home);
    if (this.#homes.get(name)?.metadata?.uid !== home.metadata?.uid) return;
    this.#homes.delete(name);
    this.#notifyUser(home);
  }

  #isOurs({ metadata }: KubernetesObject): boolean {
    const agent = metadata?.labels?.[AGENT_LABEL];
    // Objects without the agent's label are those of the Go agent, whose sessions this one carries on.
    return metadata?.labels?.[APP_LABEL] === APP && (agent === undefined || agent === this.#agentLabel);
  }

  /** The id as the Control Plane wrote it, if the object is one of a session. */
  #sessionOf(object: KubernetesObject): string | undefined {
    if (!this.#isOurs(object)) return undefined;
    const { labels, annotations } = object.metadata ?? {};
    const name = labels?.[SESSION_LABEL];
    const id = annotations?.[SESSION_ANNOTATION];
    return id !== undefined && sessionName(id) === name ? id : name;
  }

  /** Wakes whoever waits for a session of the home's user; a session of which nothing exists may be one. */
  #notifyUser(home: V1PersistentVolumeClaim): void {
    const user = home.metadata?.labels?.[USER_LABEL];
    for (const sessionId of this.#waiters.names()) {
      const { deployment } = this.session(sessionId);
      if (!deployment || deployment.metadata?.labels?.[USER_LABEL] === user) this.#waiters.wake(sessionId);
    }
  }

  #notify(sessionId: string): void {
    this.#waiters.wake(sessionId);
    for (const listener of this.#listeners) listener(sessionId);
  }
}

function keyOf(kind: Kind, object: KubernetesObject): string {
  return `${kind}/${object.metadata?.name}`;
}

/**
 * Whether `object` is an earlier state than the one that is known, be it of the very object or of an earlier one of its name; resource
 * versions of one collection can be compared.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
function isOlder(object: KubernetesObject, known: KubernetesObject | undefined): boolean {
  return Number(object.metadata?.resourceVersion) < Number(known?.metadata?.resourceVersion);
}
