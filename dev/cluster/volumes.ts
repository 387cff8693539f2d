/**
 * The controllers of PersistentVolumeClaims: they bind a claim to a volume, and keep it while a pod uses it.
 * @module
 */
import type { PersistentVolumeClaim, Pod } from "./api_objects.ts";
import { type Controller, keyOf, type ObjectKey } from "./controller.ts";
import { CLAIM_PROTECTION } from "./defaults.ts";
import { recordEvent } from "./events.ts";
import { withoutFinalizer } from "./garbage_collector.ts";
import type { Registry } from "./registry.ts";
import { CLAIMS, PODS, STORAGE_CLASSES } from "./resources.ts";
import type { Change } from "./store.ts";

/** Binds claims with an existing storage class, and releases deleted claims that no pod uses. */
export class ClaimController implements Controller {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  *affected({ type, resource, object }: Change): Iterable<ObjectKey> {
    if (resource === CLAIMS) yield keyOf(object);
    if (resource === STORAGE_CLASSES && type === "ADDED") yield* this.#registry.store.list(CLAIMS).map(keyOf);
    if (resource === PODS && type === "DELETED") yield* claimKeys(object as Pod);
  }

  reconcile({ namespace, name }: ObjectKey): void {
    const claim = this.#registry.store.get(CLAIMS, namespace, name);
    if (!claim) return;
    if (claim.metadata.deletionTimestamp) this.#letGo(claim);
    else if (claim.status.phase === "Pending") this.#bind(claim);
  }

  #letGo(claim: PersistentVolumeClaim): void {
    const { namespace, name, finalizers = [] } = claim.metadata;
    if (!finalizers.includes(CLAIM_PROTECTION)) return;
    const pods = this.#registry.store.list(PODS, namespace);
    const isUsed = pods.some((pod) => [...claimKeys(pod)].some((key) => key.name === name));
    if (!isUsed) this.#registry.replace(CLAIMS, withoutFinalizer(claim, CLAIM_PROTECTION));
  }

  #bind(claim: PersistentVolumeClaim): void {
    const { storageClassName = "", accessModes, resources } = claim.spec;
    if (storageClassName === "") return;
    if (!this.#registry.store.get(STORAGE_CLASSES, "", storageClassName)) {
      const message = `storageclass.storage.k8s.io "${storageClassName}" not found`;
      this.#record(claim, { type: "Warning", reason: "ProvisioningFailed", message });
      return;
    }
    const volumeName = `pvc-${claim.metadata.uid}`;
    const status = { phase: "Bound", accessModes, capacity: { ...resources?.requests } };
    this.#registry.replace(CLAIMS, { ...claim, spec: { ...claim.spec, volumeName }, status });
    this.#record(claim, {
      reason: "ProvisioningSucceeded",
      message: `Successfully provisioned volume ${volumeName}`,
    });
  }

  #record(claim: PersistentVolumeClaim, event: { type?: "Warning"; reason: string; message: string }): void {
    recordEvent(this.#registry, claim, { ...event, component: "persistentvolume-controller" });
  }
}

/** Names of the claims that a pod mounts. */
export function* claimKeys({ metadata, spec }: Pod): Iterable<ObjectKey> {
  for (const { persistentVolumeClaim } of spec.volumes ?? []) {
    if (persistentVolumeClaim) {
      yield { namespace: metadata.namespace ?? "", name: persistentVolumeClaim.claimName };
    }
  }
}
