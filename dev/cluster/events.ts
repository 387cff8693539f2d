/**
 * Events that the controllers record about objects.
 * @module
 */
import { type ApiObject, timestamp } from "./api_objects.ts";
import type { Registry } from "./registry.ts";
import { EVENTS, NAMESPACES } from "./resources.ts";

/** An event about an object. */
export interface Occurrence {
  /** @default {"Normal"} */
  readonly type?: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  /** Reporting component, such as `kubelet`. */
  readonly component: string;
}

/** Records an event about an object, unless its namespace is being deleted. */
export function recordEvent(registry: Registry, about: ApiObject, occurrence: Occurrence): void {
  const { namespace = "default", name, uid, resourceVersion } = about.metadata;
  const home = registry.store.get(NAMESPACES, "", namespace);
  if (!home || home.metadata.deletionTimestamp) return;
  const { type = "Normal", reason, message, component } = occurrence;
  const now = timestamp();
  registry.create(EVENTS, {
    metadata: { name: `${name}.${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}` },
    involvedObject: { apiVersion: about.apiVersion, kind: about.kind, namespace, name, uid, resourceVersion },
    type,
    reason,
    message,
    count: 1,
    firstTimestamp: now,
    lastTimestamp: now,
    eventTime: null,
    source: { component },
    reportingComponent: component,
    reportingInstance: "",
  }, namespace);
}
