/**
 * What objects of the cluster say about themselves. Pure.
 * @module
 */
import type { KubernetesObject, V1Deployment } from "@kubernetes/client-node";

/** An object's name; empty for one that has none yet. */
export function nameOf({ metadata }: KubernetesObject): string {
  return metadata?.name ?? "";
}

/** Whether an object exists and is not on its way out. */
export function isAlive<T extends KubernetesObject>(object: T | undefined): object is T {
  return object !== undefined && !object.metadata?.deletionTimestamp;
}

/** A time of an object, in milliseconds; 0 for none. Objects of a watch carry it as text, those of the typed clients as a Date. */
export function timeOf(time: Date | undefined): number {
  return new Date(time ?? 0).getTime();
}

/** What the cluster says of one aspect of an object, if it says anything. */
export function conditionOf<C extends { readonly type: string }>(
  { status }: { readonly status?: { readonly conditions?: readonly C[] } },
  type: string,
): C | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** Whether a Deployment runs a session or is about to. */
export function wantsPod(deployment: V1Deployment | undefined): deployment is V1Deployment {
  return isAlive(deployment) && (deployment.spec?.replicas ?? 1) > 0;
}

/** The claim that a session's Deployment mounts. */
export function mountedClaim(deployment: V1Deployment | undefined): string | undefined {
  const volumes = deployment?.spec?.template.spec?.volumes ?? [];
  return volumes.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName;
}
