/**
 * The scheduler: binds each pod whose claims are bound to the node, and reports why other pods are unschedulable.
 * @module
 */
import { type Pod, timestamp } from "./api_objects.ts";
import { type Controller, keyOf, type ObjectKey } from "./controller.ts";
import { recordEvent } from "./events.ts";
import type { Registry } from "./registry.ts";
import { CLAIMS, PODS } from "./resources.ts";
import type { Change } from "./store.ts";
import { claimKeys } from "./volumes.ts";

/** Schedules pods on one node. */
export class Scheduler implements Controller {
  readonly #registry: Registry;
  readonly #node: string;

  constructor(registry: Registry, node: string) {
    this.#registry = registry;
    this.#node = node;
  }

  *affected({ type, resource, object }: Change): Iterable<ObjectKey> {
    if (type !== "DELETED" && resource === PODS) yield keyOf(object);
    if (resource !== CLAIMS) return;
    yield* this.#registry.store.list(PODS, object.metadata.namespace).filter((pod) => !pod.spec.nodeName).map(
      keyOf,
    );
  }

  reconcile({ namespace, name }: ObjectKey): void {
    const pod = this.#registry.store.get(PODS, namespace, name);
    if (!pod || pod.spec.nodeName || pod.metadata.deletionTimestamp) return;
    const obstacle = this.#obstacle(pod);
    if (obstacle === undefined) this.#assign(pod);
    else this.#refuse(pod, obstacle);
  }

  #obstacle(pod: Pod): string | undefined {
    for (const { namespace, name } of claimKeys(pod)) {
      const claim = this.#registry.store.get(CLAIMS, namespace, name);
      if (!claim) return `persistentvolumeclaim "${name}" not found`;
      if (claim.metadata.deletionTimestamp) return `persistentvolumeclaim "${name}" is being deleted`;
      if (claim.status.phase !== "Bound") return "pod has unbound immediate PersistentVolumeClaims";
    }
  }

  #assign(pod: Pod): void {
    const { namespace, name } = pod.metadata;
    const condition = { type: "PodScheduled", status: "True", lastTransitionTime: timestamp() };
    const status = { ...pod.status, conditions: [condition] };
    this.#registry.replace(PODS, { ...pod, spec: { ...pod.spec, nodeName: this.#node }, status });
    const message = `Successfully assigned ${namespace}/${name} to ${this.#node}`;
    recordEvent(this.#registry, pod, { reason: "Scheduled", message, component: "default-scheduler" });
  }

  #refuse(pod: Pod, obstacle: string): void {
    const message = `0/1 nodes are available: ${obstacle}.`;
    if (pod.status.conditions?.[0]?.message === message) return;
    const lastTransitionTime = timestamp();
    const condition = {
      type: "PodScheduled",
      status: "False",
      reason: "Unschedulable",
      message,
      lastTransitionTime,
    };
    this.#registry.setStatus(PODS, pod, { ...pod.status, conditions: [condition] });
    recordEvent(this.#registry, pod, {
      type: "Warning",
      reason: "FailedScheduling",
      message,
      component: "default-scheduler",
    });
  }
}
