/**
 * What is known of the cluster's objects of this agent's sessions. Nobody else lists or polls: readiness, hibernation, deletion and the count of
 * active sessions are all read here. What is kept is only a copy of the cluster's state: losing it costs one list.
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
} from "../model/names.ts";
import { EventLog, type SessionEvent } from "./event_log.ts";
import { isAlive, mountedClaim, nameOf, wantsPod } from "./objects.ts";
import { Waiters } from "./waiters.ts";

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

/** A kind of objects that sessions consist of. */
export type Kind = keyof Kinds;

/** All of them. */
export const KINDS: readonly Kind[] = ["deployment", "service", "claim", "policy", "pod"];

/** What a waiting caller finds in a session's objects: its answer, or how long that may stay true without a change. */
export type Look<T> = { readonly answer: T } | { readonly lookAgainInMs?: number };

/** An object, and who told of it last; a watch goes on from a list, an answer may be newer than both. */
interface Entry {
  readonly kind: Kind;
  readonly object: KubernetesObject;
  readonly source: "list" | "watch" | "answer";
}

/** Objects whose end was seen lately, so that a late answer to an earlier request does not bring them back. */
const REMEMBERED_REMOVALS = 4096;

/** The shared view of all sessions' objects. */
export class SessionCache {
  readonly #agentLabel: string;
  /** Session id → kind and name → object; without an id: homes of users, which are of no session alone. */
  readonly #objects = new Map<string | undefined, Map<string, Entry>>();
  readonly #events = new EventLog();
  /** Uid → version at which an object was gone, or no longer a session's. */
  readonly #removed = new Map<string, number>();
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

  /** The objects of a session; all absent for one that does not exist. */
  session(sessionId: string): SessionObjects {
    const entries = this.#entries(sessionId);
    const first = <K extends Kind>(kind: K) =>
      entries.find((entry) => entry.kind === kind)?.object as Kinds[K] | undefined;
    const deployment = first("deployment");
    const home = this.#objects.get(undefined)?.get(`claim/${mountedClaim(deployment) ?? ""}`)?.object;
    const claim = first("claim") ?? home as V1PersistentVolumeClaim | undefined;
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
    return [...this.#entries(sessionId), ...this.#entries(undefined)]
      .every((known) => known.object.metadata?.uid !== object.metadata?.uid);
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
    return [...this.#objects.keys()].filter((id) => id !== undefined);
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
  put(kind: Kind, object: KubernetesObject): void {
    this.#put({ kind, object, source: "answer" });
  }

  /** Takes over a change that a watch shows. */
  change(kind: Kind, change: "put" | "remove", object: KubernetesObject): void {
    if (change === "put") this.#put({ kind, object, source: "watch" });
    else this.#remove(kind, { object, version: object.metadata?.resourceVersion });
  }

  /** Takes over what a kind's list holds: what it lacks is gone, unless an answer told of it after the list was made. */
  replace(kind: Kind, objects: readonly KubernetesObject[], version: string): void {
    const present = new Set(objects.map((object) => object.metadata?.uid));
    for (const { object, ...entry } of [...this.#objects.keys()].flatMap((id) => this.#entries(id))) {
      const isLater = entry.source === "answer" && Number(object.metadata?.resourceVersion) > Number(version);
      if (entry.kind === kind && !present.has(object.metadata?.uid) && !isLater) {
        this.#remove(kind, { object, version });
      }
    }
    for (const object of objects) this.#put({ kind, object, source: "list" });
    this.#unlisted.delete(kind);
    if (this.#unlisted.size === 0) this.#synced.resolve();
  }

  /** Takes in an event of the cluster's. */
  putEvent(event: KubernetesObject): void {
    this.#events.put(event);
  }

  /**
   * Waits until a look at a session's objects finds what it wants; it looks at each change of the session.
   *
   * @throws what `look` throws, or the signal's reason
   */
  async waitFor<T>(
    sessionId: string,
    options: { look: (objects: SessionObjects) => Look<T>; signal: AbortSignal },
  ): Promise<T> {
    const { look, signal } = options;
    while (true) {
      signal.throwIfAborted();
      const finding = look(this.session(sessionId));
      if ("answer" in finding) return finding.answer;
      await this.#waiters.next(sessionId, { ...finding, signal });
    }
  }

  #entries(sessionId: string | undefined): Entry[] {
    return [...this.#objects.get(sessionId)?.values() ?? []];
  }

  #put(entry: Entry): void {
    const { kind, object, source } = entry;
    const { uid = "", resourceVersion } = object.metadata ?? {};
    if (!this.#isKept(kind, object)) return;
    if (source !== "list" && Number(resourceVersion) <= Number(this.#removed.get(uid))) return;
    this.#removed.delete(uid);
    const sessionId = this.#sessionOf(object);
    const objects = this.#objects.get(sessionId) ?? new Map();
    const key = `${kind}/${nameOf(object)}`;
    const known: Entry | undefined = objects.get(key);
    if (isOutdated(entry, known)) return;
    const notify = () => this.#notify(sessionId, object);
    if (kind === "pod" || kind === "claim") {
      this.#events.know(object, { instead: known?.object, onNews: notify });
    }
    objects.set(key, entry);
    this.#objects.set(sessionId, objects);
    notify();
  }

  #remove(
    kind: Kind,
    { object, version }: { object: KubernetesObject; version: string | undefined },
  ): void {
    const uid = object.metadata?.uid;
    if (uid === undefined || !this.#isKept(kind, object)) return;
    this.#removed.set(uid, Number(version));
    const [oldest] = this.#removed.keys();
    if (this.#removed.size > REMEMBERED_REMOVALS && oldest !== undefined) this.#removed.delete(oldest);
    this.#events.forget(uid);
    const sessionId = this.#sessionOf(object);
    const objects = this.#objects.get(sessionId);
    const key = `${kind}/${nameOf(object)}`;
    // A namesake that came since is another object: the late end of the earlier one does not touch it.
    if (objects?.get(key)?.object.metadata?.uid !== uid) return;
    objects.delete(key);
    if (objects.size === 0) this.#objects.delete(sessionId);
    this.#notify(sessionId, object);
  }

  /** Without a session, only a home. */
  #isKept(kind: Kind, object: KubernetesObject): boolean {
    return this.#isOurs(object) && (kind === "claim" || this.#sessionOf(object) !== undefined);
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

  #notify(sessionId: string | undefined, object: KubernetesObject): void {
    if (sessionId === undefined) return this.#notifyUser(object);
    this.#waiters.wake(sessionId);
    for (const listener of this.#listeners) listener(sessionId);
  }

  /** Wakes whoever waits for a session of the home's user; a session of which nothing exists may be one. */
  #notifyUser(home: KubernetesObject): void {
    const user = home.metadata?.labels?.[USER_LABEL];
    for (const sessionId of this.#waiters.names()) {
      const { deployment } = this.session(sessionId);
      if (!deployment || deployment.metadata?.labels?.[USER_LABEL] === user) this.#waiters.wake(sessionId);
    }
  }
}

/**
 * Whether an entry is an earlier state than what is known, be it of the very object or of an earlier one of its name; resource versions of one
 * collection can be compared. Only an answer may be newer than a list, whose versions are lower where the cluster was restored from a backup.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
function isOutdated({ object, source }: Entry, known: Entry | undefined): boolean {
  if (source === "list" && known?.source !== "answer") return false;
  return Number(object.metadata?.resourceVersion) < Number(known?.object.metadata?.resourceVersion);
}
