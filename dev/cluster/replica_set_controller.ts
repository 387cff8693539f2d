/**
 * The controller of ReplicaSets: keeps the desired number of pods, and counts them in the status.
 * @module
 */
import type { Pod, ReplicaSet } from "./api_objects.ts";
import { type Controller, keyOf, type ObjectKey } from "./controller.ts";
import { recordEvent } from "./events.ts";
import { controlledBy, controllerReference } from "./owners.ts";
import type { Registry } from "./registry.ts";
import { PODS, REPLICA_SETS } from "./resources.ts";
import type { Change } from "./store.ts";

/** Creates and deletes the pods of ReplicaSets. */
export class ReplicaSetController implements Controller {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  *affected({ resource, object }: Change): Iterable<ObjectKey> {
    if (resource === REPLICA_SETS) yield keyOf(object);
    if (resource !== PODS) return;
    for (const owner of object.metadata.ownerReferences ?? []) {
      if (owner.kind === "ReplicaSet") yield { namespace: object.metadata.namespace ?? "", name: owner.name };
    }
  }

  reconcile({ namespace, name }: ObjectKey): void {
    const set = this.#registry.store.get(REPLICA_SETS, namespace, name);
    if (!set) return;
    if (!set.metadata.deletionTimestamp) this.#scale(set);
    this.#report(set);
  }

  #scale(set: ReplicaSet): void {
    const pods = activePods(this.#registry, set);
    const missing = (set.spec.replicas ?? 1) - pods.length;
    for (let n = 0; n < missing; n++) this.#createPod(set);
    const expendable = pods.sort((a, b) => Number(isReady(a)) - Number(isReady(b)));
    for (const pod of expendable.slice(0, Math.max(0, -missing))) {
      this.#registry.delete(PODS, keyOf(pod));
      this.#record(set, "SuccessfulDelete", `Deleted pod: ${pod.metadata.name}`);
    }
  }

  #createPod(set: ReplicaSet): void {
    const { template } = set.spec;
    const pod = this.#registry.create(PODS, {
      metadata: {
        generateName: `${set.metadata.name}-`,
        labels: template.metadata?.labels,
        annotations: template.metadata?.annotations,
        ownerReferences: [controllerReference(set)],
      },
      spec: template.spec,
    }, set.metadata.namespace ?? "");
    this.#record(set, "SuccessfulCreate", `Created pod: ${pod.metadata.name}`);
  }

  #report(set: ReplicaSet): void {
    const pods = activePods(this.#registry, set);
    const ready = pods.filter(isReady).length;
    const counts = { fullyLabeledReplicas: pods.length, readyReplicas: ready, availableReplicas: ready };
    this.#registry.setStatus(REPLICA_SETS, set, {
      replicas: pods.length,
      ...Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0)),
      observedGeneration: set.metadata.generation,
    });
  }

  #record(set: ReplicaSet, reason: string, message: string): void {
    recordEvent(this.#registry, set, { reason, message, component: "replicaset-controller" });
  }
}

/** Pods of a set that have neither terminated nor are being deleted. */
function activePods(registry: Registry, set: ReplicaSet): Pod[] {
  return controlledBy(registry.store, set, PODS).filter(({ metadata, status }) =>
    !metadata.deletionTimestamp && status.phase !== "Succeeded" && status.phase !== "Failed"
  );
}

/** Whether a pod is ready. */
export function isReady(pod: Pod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}
