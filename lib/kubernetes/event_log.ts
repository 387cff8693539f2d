/**
 * Kubernetes events of pods and PersistentVolumeClaims, which explain why a session is not ready. It keeps the newest event per object and reason,
 * for objects of sessions and, up to a limit, for objects that are not known yet. A namespace may hold thousands of events; memory is bounded. Pure.
 * @module
 */
import { asRecord } from "../common/json.ts";
import type { KubernetesObject } from "@kubernetes/client-node";

/**
 * Reasons of the events that are kept. Other events of a waiting pod, such as those between two failed attempts, would hide the relevant one.
 * Sources: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go,
 * https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/volume/events/event.go
 */
export const EVENT_REASONS = [
  "TriggeredScaleUp",
  "NotTriggerScaleUp",
  "FailedScaleUp",
  "Nominated",
  "ProvisioningFailed",
  "ProvisioningSucceeded",
  "ExternalProvisioning",
  "FailedBinding",
  "FailedAttachVolume",
  "SuccessfulAttachVolume",
  "FailedMount",
  "FailedMapVolume",
  "FailedCreatePodSandBox",
  "NetworkNotReady",
  "NodeNotReady",
  "Pulling",
  "Failed",
  "Unhealthy",
] as const;

/** Reason of a kept event. */
export type EventReason = typeof EVENT_REASONS[number];

/** One event of an object. */
export interface SessionEvent {
  /** Uid of the object that the event is about. */
  readonly objectUid: string;
  readonly reason: EventReason;
  readonly message: string;
  /** Name of the container that the event is about, if it is about one. */
  readonly container?: string;
  /** Resource version, by which events are ordered: components differ in their clocks and in the time fields that they set. */
  readonly version: number;
}

/**
 * Field selector of the watched events. It excludes those that every successful start causes, that repeat what the objects show, or that are about
 * objects without influence on a start.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
 */
export const EVENT_SELECTOR = [
  ...["Deployment", "ReplicaSet", "Service", "Endpoints"].map((kind) => `involvedObject.kind!=${kind}`),
  ...["Scheduled", "Pulled", "Created", "Started", "Killing"].map((reason) => `reason!=${reason}`),
].join(",");

const EVENT_KINDS: readonly unknown[] = ["Pod", "PersistentVolumeClaim"];
/** Number of unknown objects whose events are kept: an event may be delivered before its object. */
const MAX_UNKNOWN_OBJECTS = 128;
const MAX_MESSAGE_LENGTH = 1000;
/** Message that accompanies each failed pull and repeats the pod's status; it would replace the event that holds the cause. */
const REPEATED_STATUS = /^Error: \w+$/;

/**
 * The kubelet's summary of volumes that are not mounted yet. It follows the events that say why, and must not replace them.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet.go, syncPod
 */
const MOUNT_SUMMARY = /^Unable to attach or mount volumes: /;
const CONTAINER_PATH = /^spec\.(?:initContainers|containers)\{([a-z0-9-]{1,63})\}$/;
/** Number of events of one object that are kept. */
const MAX_EVENTS_OF_OBJECT = 64;

/** Key → newest event with it, in order of arrival. */
type Events = Map<string, SessionEvent>;

/** Newest events of objects. */
export class EventLog {
  /** Uid of a tracked object → its events and its callback. */
  readonly #tracked = new Map<string, { onEvent: () => void; events: Events }>();
  /** Uid of an unknown object → its events; oldest first. */
  readonly #unknown = new Map<string, Events>();

  /** Adds an event in the form of the API, unless it is irrelevant or older than the known one. */
  put(object: KubernetesObject): void {
    const event = parseEvent(object);
    if (!event) return;
    const tracked = this.#tracked.get(event.objectUid);
    const events = tracked?.events ?? this.#eventsOfUnknown(event.objectUid);
    const key = keyOf(event);
    const known = events.get(key);
    if (known && known.version >= event.version) return;
    events.delete(key);
    events.set(key, event);
    deleteOldest(events, MAX_EVENTS_OF_OBJECT);
    tracked?.onEvent();
  }

  /** Keeps the events of an object until it is untracked or replaced, and calls `onEvent` after each new one. */
  track(
    { metadata }: KubernetesObject,
    { replaces, onEvent }: { replaces?: KubernetesObject | undefined; onEvent: () => void },
  ): void {
    const { uid = "" } = metadata ?? {};
    const replacedUid = replaces?.metadata?.uid;
    if (replacedUid !== undefined && replacedUid !== uid) this.#tracked.delete(replacedUid);
    const events = this.#tracked.get(uid)?.events ?? this.#unknown.get(uid) ?? new Map();
    this.#tracked.set(uid, { onEvent, events });
    this.#unknown.delete(uid);
  }

  /** Drops the events of an object that was deleted. */
  untrack(uid: string): void {
    this.#tracked.delete(uid);
  }

  /** Events of tracked objects, oldest first. */
  eventsOf(uids: readonly string[]): SessionEvent[] {
    return uids.flatMap((uid) => [...this.#tracked.get(uid)?.events.values() ?? []])
      .sort((one, other) => one.version - other.version);
  }

  #eventsOfUnknown(uid: string): Events {
    const events: Events = this.#unknown.get(uid) ?? new Map();
    this.#unknown.set(uid, events);
    deleteOldest(this.#unknown, MAX_UNKNOWN_OBJECTS);
    return events;
  }
}

/** Returns an event with only the fields that are read. */
export function reduceEvent(object: KubernetesObject): KubernetesObject {
  const { metadata, ...fields } = object as KubernetesObject & Readonly<Record<string, unknown>>;
  const { uid, resourceVersion } = metadata ?? {};
  const { involvedObject, reason, message } = fields;
  const reduced = { metadata: { uid, resourceVersion }, involvedObject, reason, message };
  return reduced as KubernetesObject;
}

function parseEvent(object: KubernetesObject): SessionEvent | undefined {
  const { metadata, ...fields } = object as KubernetesObject & Readonly<Record<string, unknown>>;
  const { kind, uid, fieldPath } = asRecord(fields.involvedObject) ?? {};
  const { reason, message } = fields;
  if (!EVENT_KINDS.includes(kind) || typeof uid !== "string" || uid === "") return undefined;
  if (!isReason(reason) || typeof message !== "string" || REPEATED_STATUS.test(message)) return undefined;
  const version = Number(metadata?.resourceVersion);
  const container = CONTAINER_PATH.exec(String(fieldPath ?? ""))?.[1];
  return {
    objectUid: uid,
    reason,
    message: message.slice(0, MAX_MESSAGE_LENGTH),
    version,
    ...(container === undefined ? {} : { container }),
  };
}

/** Whether an event says only that the pod waits for its volumes. */
export function isMountSummary({ reason, message }: SessionEvent): boolean {
  return reason === "FailedMount" && MOUNT_SUMMARY.test(message);
}

/** Of the events with the same key, only the newest counts. */
function keyOf(event: SessionEvent): string {
  // Each container of a pod has its own probes.
  if (event.reason === "Unhealthy") return `${event.reason}/${event.container ?? ""}`;
  return isMountSummary(event) ? `${event.reason}/summary` : event.reason;
}

function deleteOldest(entries: Map<string, unknown>, maximum: number): void {
  const [oldest] = entries.keys();
  if (entries.size > maximum && oldest !== undefined) entries.delete(oldest);
}

function isReason(reason: unknown): reason is EventReason {
  return (EVENT_REASONS as readonly unknown[]).includes(reason);
}
