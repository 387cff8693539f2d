/**
 * Reads common fields of Kubernetes objects. Pure.
 * @module
 */
import type { KubernetesObject, V1Deployment } from "@kubernetes/client-node";

/** Name of an object; empty if it has none yet. */
export function nameOf({ metadata }: KubernetesObject): string {
  return metadata?.name ?? "";
}

/** Whether an object exists and is not being deleted. */
export function isAlive<T extends KubernetesObject>(object: T | undefined): object is T {
  return object !== undefined && !object.metadata?.deletionTimestamp;
}

/** A timestamp in milliseconds since 1970; 0 if there is none. Objects from a watch carry it as text, objects from the typed clients as a `Date`. */
export function timeOf(time: Date | undefined): number {
  return new Date(time ?? 0).getTime();
}

/** Condition of an object by its type. */
export function conditionOf<C extends { readonly type: string }>(
  { status }: { readonly status?: { readonly conditions?: readonly C[] } },
  type: string,
): C | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

/** Whether a Deployment requests a pod: its session is running or starting. */
export function wantsPod(deployment: V1Deployment | undefined): deployment is V1Deployment {
  return isAlive(deployment) && (deployment.spec?.replicas ?? 1) > 0;
}

/** Name of the PersistentVolumeClaim that a session's Deployment mounts. */
export function mountedClaim(deployment: V1Deployment | undefined): string | undefined {
  const volumes = deployment?.spec?.template.spec?.volumes ?? [];
  return volumes.find((volume) => volume.persistentVolumeClaim)?.persistentVolumeClaim?.claimName;
}
