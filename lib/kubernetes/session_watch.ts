/**
 * Keeps the session cache up to date: one list+watch a kind, and one of the events about them.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { APP, APP_LABEL } from "../model/names.ts";
import { EVENT_SELECTOR } from "./event_log.ts";
import { type Kind, KINDS, type SessionCache } from "./session_cache.ts";
import type { Transport } from "./transport.ts";
import { list, watch, type WatchObserver } from "./watch.ts";

/** Where the API keeps each kind. */
export const COLLECTIONS: Readonly<Record<Kind, { api: string; resource: string }>> = {
  deployment: { api: "/apis/apps/v1", resource: "deployments" },
  service: { api: "/api/v1", resource: "services" },
  claim: { api: "/api/v1", resource: "persistentvolumeclaims" },
  policy: { api: "/apis/networking.k8s.io/v1", resource: "networkpolicies" },
  pod: { api: "/api/v1", resource: "pods" },
};

/** Resources without a view of which the agent knows no session. */
export const WATCHED_RESOURCES: readonly string[] = KINDS.map((kind) => COLLECTIONS[kind].resource);

/** What of the cluster to look at, and for how long. */
export interface LoadOptions {
  readonly namespace: string;
  readonly signal: AbortSignal;
}

/** What of the cluster to follow, and for how long. */
export interface FollowOptions extends LoadOptions {
  readonly observer?: WatchObserver;
}

/** The cache, and how the cluster is reached. */
export interface Followed {
  readonly cache: SessionCache;
  readonly transport: Transport;
}

/** Follows the cluster until the signal is aborted. */
export async function followSessions(followed: Followed, options: FollowOptions): Promise<void> {
  const { cache, transport } = followed;
  const watches = KINDS.map((kind) =>
    watch<KubernetesObject>(transport, {
      ...collectionOf(kind, { cache, ...options }),
      onChange: (change, object) => cache.change(kind, change, object),
      observer: options.observer,
    })
  );
  await Promise.all([...watches, followEvents(followed, options)]);
}

/**
 * Takes in what the cluster holds now, once.
 *
 * @throws {KubernetesError} when a list is refused or not answered
 */
export async function loadSessions({ cache, transport }: Followed, options: LoadOptions): Promise<void> {
  const context = { cache, ...options };
  await Promise.all(KINDS.map((kind) => list(transport, collectionOf(kind, context))));
  await list(transport, eventsOf(context)).catch(() => {});
}

/** Events only tell why: they come after the objects that they are about, and sessions start without them, too. */
async function followEvents({ cache, transport }: Followed, options: LoadOptions): Promise<void> {
  await cache.synced(options.signal).catch(() => {});
  await watch<KubernetesObject>(transport, {
    ...eventsOf({ cache, ...options }),
    // A Role without this right is a choice: one line in the log is enough.
    reminderMs: Infinity,
    onChange: (change, event) => change === "put" && cache.putEvent(event),
  });
}

function collectionOf(kind: Kind, { cache, namespace, signal }: LoadOptions & { cache: SessionCache }) {
  const { api, resource } = COLLECTIONS[kind];
  return {
    path: `${api}/namespaces/${namespace}/${resource}`,
    selector: { labelSelector: `${APP_LABEL}=${APP}` },
    onList: (objects: readonly KubernetesObject[], version: string) => cache.replace(kind, objects, version),
    signal,
  };
}

function eventsOf({ cache, namespace, signal }: LoadOptions & { cache: SessionCache }) {
  return {
    path: `/api/v1/namespaces/${namespace}/events`,
    selector: { fieldSelector: EVENT_SELECTOR },
    onList: (events: readonly KubernetesObject[]) => events.forEach((event) => cache.putEvent(event)),
    signal,
  };
}
