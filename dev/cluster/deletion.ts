/**
 * What a deletion does to an object: it goes at once, or it is marked and waits for finalizers or a grace period.
 * @module
 */
import { type ApiObject, type Pod, timestamp } from "./api_objects.ts";
import { ApiError } from "./api_error.ts";
import { NAMESPACES, PODS, type ResourceType } from "./resources.ts";

/** Holds an owner until all it owns is gone. */
export const FOREGROUND = "foregroundDeletion";
/** Holds an owner until what it owns is its own no more. */
export const ORPHAN = "orphan";

/** How an object shall be deleted. */
export interface DeleteOptions {
  /** @default {"Background"} */
  readonly propagationPolicy?: string;
  /** In seconds. @default the pod's own; other objects have none */
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
}

/** The object as the deletion leaves it, and whether it is removed. */
export interface DeletionPlan {
  readonly object: ApiObject;
  readonly isFinal: boolean;
}

const POLICIES = ["Foreground", "Background", "Orphan"];

/**
 * Decides what becomes of an object that shall be deleted.
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

/** A pod that no node runs, or that has ended, needs no time to stop. */
function podGrace({ spec, status }: Pod, wanted: number | undefined): number {
  if (!spec.nodeName || status.phase === "Succeeded" || status.phase === "Failed") return 0;
  return Math.max(0, wanted ?? spec.terminationGracePeriodSeconds ?? 30);
}
