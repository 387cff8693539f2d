/**
 * What the cluster tells about pods and volumes while they come to be, kept as far as it helps: of each object that somebody knows the newest
 * words per reason, of others a few, for a while. A namespace may hold thousands of events; memory is bounded. Pure.
 * @module
 */
import { asRecord } from "../common/json.ts";
import type { KubernetesObject } from "@kubernetes/client-node";

/**
 * What is read of all that is told: other events of a pod that waits, such as those between two failures of a kind, would only hide it.
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

/** One of these. */
export type EventReason = typeof EVENT_REASONS[number];

/** One thing that happened to an object. */
export interface SessionEvent {
  /** Uid of the object. */
  readonly about: string;
  /** One word of whoever tells it. */
  readonly reason: EventReason;
  readonly message: string;
  /** Grows with time. Clocks are not asked: components differ in theirs, and in the fields they fill. */
  readonly version: number;
}

/**
 * What each start of a session that goes well brings, and what is known from its objects anyway, stays on the server.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
 */
export const EVENT_SELECTOR = [
  ...["Deployment", "ReplicaSet"].map((kind) => `involvedObject.kind!=${kind}`),
  ...["Scheduled", "Pulled", "Created", "Started", "Killing"].map((reason) => `reason!=${reason}`),
].join(",");

const KINDS: readonly unknown[] = ["Pod", "PersistentVolumeClaim"];
/** Objects whose events wait for them to be known: an event may overtake its object. */
const STRANGERS = 128;
const MESSAGE_LENGTH = 1000;
/** Told beside each failed pull, and says no more than the pod's own status: it would take the place of the event that says why. */
const ECHO = /^Error: \w+$/;

/** Reason → the newest event with it, in the order they came. */
type Events = Map<EventReason, SessionEvent>;

/** The newest events of objects. */
export class EventLog {
  /** By uid, for the objects of sessions. */
  readonly #known = new Map<string, { onNews: () => void; events: Events }>();
  /** By uid, for others; longest waiting first. */
  readonly #strangers = new Map<string, Events>();

  /** Takes an event as the API gives it, unless it is none worth keeping. */
  put(object: KubernetesObject): void {
    const event = read(object);
    if (!event) return;
    const known = this.#known.get(event.about);
    const events = known?.events ?? this.#stranger(event.about);
    const earlier = events.get(event.reason);
    if (earlier && earlier.version >= event.version) return;
    events.delete(event.reason);
    events.set(event.reason, event);
    known?.onNews();
  }

  /** From now on, what is told about an object is kept as long as the object, and news of it are told; it may stand instead of another. */
  know(
    { metadata }: KubernetesObject,
    { instead, onNews }: { instead?: KubernetesObject | undefined; onNews: () => void },
  ): void {
    const { uid = "" } = metadata ?? {};
    const earlierUid = instead?.metadata?.uid;
    if (earlierUid !== undefined && earlierUid !== uid) this.#known.delete(earlierUid);
    const events = this.#known.get(uid)?.events ?? this.#strangers.get(uid) ?? new Map();
    this.#known.set(uid, { onNews, events });
    this.#strangers.delete(uid);
  }

  /** The object is gone. */
  forget(uid: string): void {
    this.#known.delete(uid);
  }

  /** What was told about objects, oldest first. */
  about(uids: readonly string[]): SessionEvent[] {
    return uids.flatMap((uid) => [...this.#known.get(uid)?.events.values() ?? []])
      .sort((one, other) => one.version - other.version);
  }

  #stranger(uid: string): Events {
    const events: Events = this.#strangers.get(uid) ?? new Map();
    this.#strangers.set(uid, events);
    const [oldest] = this.#strangers.keys();
    if (this.#strangers.size > STRANGERS && oldest !== undefined) this.#strangers.delete(oldest);
    return events;
  }
}

function read(object: KubernetesObject): SessionEvent | undefined {
  const { metadata, ...fields } = object as KubernetesObject & Readonly<Record<string, unknown>>;
  const { kind, uid } = asRecord(fields.involvedObject) ?? {};
  const { reason, message } = fields;
  if (!KINDS.includes(kind) || typeof uid !== "string" || uid === "") return undefined;
  if (!isReason(reason) || typeof message !== "string" || ECHO.test(message)) return undefined;
  const version = Number(metadata?.resourceVersion);
  return { about: uid, reason, message: message.slice(0, MESSAGE_LENGTH), version };
}

function isReason(reason: unknown): reason is EventReason {
  return (EVENT_REASONS as readonly unknown[]).includes(reason);
}
