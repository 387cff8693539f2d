/**
 * The entries of the cache, and which of two states of an object is newer.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import type { Kind } from "./kinds.ts";
import { mountedClaims } from "./ownership.ts";

/** A cached object and where its state is from; the response to a write may be newer than what list and watch have delivered. */
export interface Entry {
  readonly kind: Kind;
  readonly object: KubernetesObject;
  readonly source: "list" | "watch" | "response";
}

/**
 * Whether an entry is older than the known one, be that the same object or an earlier one with its name; resource versions of one collection are
 * comparable. A list is authoritative over list and watch: after a restore from a backup its versions are lower than the known ones.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
 */
export function isOutdated({ object, source }: Entry, known: Entry | undefined): boolean {
  if (source === "list" && known?.source !== "response") return false;
  return Number(object.metadata?.resourceVersion) < Number(known?.object.metadata?.resourceVersion);
}

/** Whether a list has nothing new of an object. */
export function isSameVersion(object: KubernetesObject, known: KubernetesObject | undefined): boolean {
  const { uid, resourceVersion } = object.metadata ?? {};
  return uid === known?.metadata?.uid && resourceVersion === known?.metadata?.resourceVersion;
}

/** The uid of an entry's object. */
export function uidOf({ object }: Entry): string {
  return object.metadata?.uid ?? "";
}

/** Names of the claims that the pods of an object mount. */
export function claimsOf({ kind, object }: Entry): string[] {
  return kind === "deployment" || kind === "pod" ? mountedClaims(object) : [];
}
