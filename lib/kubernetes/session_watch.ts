/**
 * Keeps the session cache up to date: one list and watch per kind of a session's objects, and one for their Kubernetes events.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { APP, APP_LABEL } from "../model/names.ts";
import { collectionPath } from "./collection.ts";
import { EVENT_SELECTOR, reduceEvent } from "./event_log.ts";
import { COLLECTIONS, type Kind, KINDS, reduce } from "./kinds.ts";
import type { SessionCache } from "./session_cache.ts";
import type { Transport } from "./transport.ts";
import { list, watch, type WatchObserver, type WatchTimings } from "./watch.ts";

/** Resources whose watches must be in sync before the agent knows its sessions. */
export const WATCHED_RESOURCES: readonly string[] = KINDS.map((kind) => COLLECTIONS[kind].resource);

/** A cache and the transport that fills it. */
export interface CacheSource {
  readonly cache: SessionCache;
  readonly transport: Transport;
}

/** What to list, and until when. */
export interface LoadOptions {
  readonly namespace: string;
  readonly signal: AbortSignal;
}

/** What to watch, and until when. */
export interface FollowOptions extends LoadOptions {
  readonly observer?: WatchObserver;
  readonly timings?: WatchTimings;
}

/** Lists and watches all sessions until the signal is aborted. */
export async function followSessions(source: CacheSource, options: FollowOptions): Promise<void> {
  const { cache, transport } = source;
  const { observer, timings } = options;
  const watches = KINDS.map((kind) =>
    watch<KubernetesObject>(transport, {
      ...collectionOf(kind, { cache, ...options }),
      onChange: (change, object) => cache.change(kind, change, object),
      onForbidden: (error) => cache.setForbidden(kind, error),
      observer,
      timings,
    })
  );
  await Promise.all([...watches, followEvents(source, options)]);
}

/**
 * Lists all sessions once.
 *
 * @throws {KubernetesError} when a list is refused or gets no response
 */
export async function loadSessions({ cache, transport }: CacheSource, options: LoadOptions): Promise<void> {
  const context = { cache, ...options };
  await Promise.all(KINDS.map((kind) => list(transport, collectionOf(kind, context))));
  await list(transport, eventsOf(context)).catch(() => {});
}

/** Events only explain the state of objects: they are watched after those are synced, and sessions work without them. */
async function followEvents({ cache, transport }: CacheSource, options: FollowOptions): Promise<void> {
  await cache.synced(options.signal).catch(() => {});
  await watch<KubernetesObject>(transport, {
    ...eventsOf({ cache, ...options }),
    // A Role may omit this permission on purpose, so that one log line is enough.
    reminderMs: Infinity,
    onChange: (change, event) => change === "put" && cache.putEvent(event),
    timings: options.timings,
  });
}

function collectionOf(kind: Kind, { cache, namespace, signal }: LoadOptions & { cache: SessionCache }) {
  return {
    path: collectionPath(COLLECTIONS[kind], namespace),
    selector: { labelSelector: `${APP_LABEL}=${APP}` },
    reduce: (object: KubernetesObject) => reduce(kind, object),
    onList: (objects: readonly KubernetesObject[], version: string) => cache.replace(kind, objects, version),
    signal,
  };
}

function eventsOf({ cache, namespace, signal }: LoadOptions & { cache: SessionCache }) {
  return {
    path: collectionPath({ api: "/api/v1", resource: "events" }, namespace),
    selector: { fieldSelector: EVENT_SELECTOR },
    reduce: reduceEvent,
    onList: (events: readonly KubernetesObject[]) => events.forEach((event) => cache.putEvent(event)),
    signal,
  };
}
