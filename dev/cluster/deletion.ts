/**
 * Deletion of an object: it is removed immediately, or it is marked and waits for finalizers or a grace period.
 * @module
 */
import { type ApiObject, type Pod, timestamp } from "./api_objects.ts";
import { ApiError } from "./api_error.ts";
import { NAMESPACES, PODS, type ResourceType } from "./resources.ts";

/** Finalizer that keeps an owner until all its dependents are deleted. */
export const FOREGROUND = "foregroundDeletion";
/** Finalizer that keeps an owner until its dependents are orphaned. */
export const ORPHAN = "orphan";

/** Delete options. */
export interface DeleteOptions {
  /** @default {"Background"} */
  readonly propagationPolicy?: string;
  /** In seconds. @default the pod's own grace period; other objects have none */
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

/** The object after the deletion request, and whether it is removed. */
export interface DeletionPlan {
  readonly object: ApiObject;
  readonly isFinal: boolean;
}

const POLICIES = ["Foreground", "Background", "Orphan"];

/**
 * Applies a deletion request to an object.
 * @throws {ApiError} 422 for an unknown propagation policy
 */
export function planDeletion(type: ResourceType, object: ApiObject, options: DeleteOptions): DeletionPlan {
  const { propagationPolicy = "Background" } = options;
  if (!POLICIES.includes(propagationPolicy)) {
    const supported = POLICIES.map((policy) => `"${policy}"`).join(", ");
    const message = `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: ` +
      `"${propagationPolicy}": supported values: ${supported}, "nil"`;
    throw new ApiError(422, "Invalid", { message });
  }
  const finalizers = withPolicy(object.metadata.finalizers ?? [], propagationPolicy);
  const grace = type === PODS ? podGrace(object as Pod, options.gracePeriodSeconds) : 0;
  const holdsContent = type === NAMESPACES;
  const isFinal = finalizers.length === 0 && grace === 0 && !holdsContent;
  if (isFinal && type !== PODS) return { object, isFinal };
  const { deletionTimestamp, deletionGracePeriodSeconds } = object.metadata;
  const isSooner = deletionTimestamp === undefined || grace < (deletionGracePeriodSeconds ?? 0);
  const metadata = {
    ...object.metadata,
    ...(finalizers.length > 0 ? { finalizers } : {}),
    ...(isSooner ? { deletionTimestamp: timestamp(grace * 1000), deletionGracePeriodSeconds: grace } : {}),
  };
  return {
    object: { ...object, metadata, ...(holdsContent ? { status: { phase: "Terminating" } } : {}) },
    isFinal,
  };
}

function withPolicy(finalizers: readonly string[], policy: string): string[] {
  const own = policy === "Foreground" ? [FOREGROUND] : policy === "Orphan" ? [ORPHAN] : [];
  return [...finalizers.filter((name) => name !== FOREGROUND && name !== ORPHAN), ...own];
}

/** A pod that is not scheduled or has terminated needs no grace period. */
function podGrace({ spec, status }: Pod, wanted: number | undefined): number {
  if (!spec.nodeName || status.phase === "Succeeded" || status.phase === "Failed") return 0;
  return Math.max(0, wanted ?? spec.terminationGracePeriodSeconds ?? 30);
}
