/**
 * The controller of Deployments: one ReplicaSet per pod template, rolled out according to the strategy.
 * @module
 */
import type { Deployment, ReplicaSet } from "./api_objects.ts";
import { type Controller, keyOf, type ObjectKey } from "./controller.ts";
import { deploymentStatus } from "./deployment_status.ts";
import { recordEvent } from "./events.ts";
import { controlledBy, controllerReference } from "./owners.ts";
import type { Registry } from "./registry.ts";
import { DEPLOYMENTS, PODS, REPLICA_SETS } from "./resources.ts";
import type { Change } from "./store.ts";

const HASH_LABEL = "pod-template-hash";
const REVISION = "deployment.kubernetes.io/revision";

/** Creates and scales the ReplicaSets of Deployments. */
export class DeploymentController implements Controller {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  *affected({ resource, object, type }: Change): Iterable<ObjectKey> {
    const namespace = object.metadata.namespace ?? "";
    if (resource === DEPLOYMENTS) yield keyOf(object);
    // The strategy Recreate waits until the last old pod is removed.
    if (resource === PODS && type === "DELETED") {
      yield* this.#registry.store.list(DEPLOYMENTS, namespace).map(keyOf);
    }
    if (resource !== REPLICA_SETS) return;
    for (const owner of object.metadata.ownerReferences ?? []) {
      if (owner.kind === "Deployment") yield { namespace, name: owner.name };
    }
  }

  reconcile({ namespace, name }: ObjectKey): void {
    const deployment = this.#registry.store.get(DEPLOYMENTS, namespace, name);
    if (!deployment) return;
    if (!deployment.metadata.deletionTimestamp && !deployment.spec.paused) this.#rollOut(deployment);
    const sets = controlledBy(this.#registry.store, deployment, REPLICA_SETS);
    const current = sets.find((set) => isCurrent(deployment, set));
    this.#registry.setStatus(DEPLOYMENTS, deployment, deploymentStatus(deployment, { sets, current }));
  }

  #rollOut(deployment: Deployment): void {
    const sets = controlledBy(this.#registry.store, deployment, REPLICA_SETS);
    const old = sets.filter((set) => !isCurrent(deployment, set));
    const existing = sets.find((set) => isCurrent(deployment, set));
    if (deployment.spec.strategy?.type === "Recreate") {
      for (const set of old) this.#scale(deployment, { set, replicas: 0 });
      if (old.some((set) => controlledBy(this.#registry.store, set, PODS).length > 0)) return;
      const current = existing ?? this.#createSet(deployment, revisionAfter(old));
      this.#scale(deployment, { set: current, replicas: deployment.spec.replicas ?? 1 });
    } else {
      this.#rollGradually(deployment, {
        current: existing ?? this.#createSet(deployment, revisionAfter(old)),
        old,
      });
    }
  }

  /** Scales the current set up within maxSurge and the old sets down within maxUnavailable. */
  #rollGradually(deployment: Deployment, { current, old }: { current: ReplicaSet; old: ReplicaSet[] }): void {
    const desired = deployment.spec.replicas ?? 1;
    const { maxSurge, maxUnavailable } = deployment.spec.strategy?.rollingUpdate ?? {};
    const surge = resolve(maxSurge, { of: desired, round: Math.ceil });
    const unavailable = resolve(maxUnavailable, { of: desired, round: Math.floor });
    const oldTotal = total(old.map((set) => set.spec.replicas));
    const room = Math.max(0, desired + Math.max(surge, unavailable ? 0 : 1) - oldTotal);
    const replicas = Math.min(desired, Math.max(Math.min(current.spec.replicas ?? 0, desired), room));
    this.#scale(deployment, { set: current, replicas });
    const available = total([current, ...old].map((set) => set.status.availableReplicas));
    const oldUnready = oldTotal - total(old.map((set) => set.status.availableReplicas));
    let spare = Math.max(0, available - (desired - unavailable)) + oldUnready;
    for (const set of old) {
      const remaining = Math.max(0, (set.spec.replicas ?? 0) - spare);
      spare -= (set.spec.replicas ?? 0) - remaining;
      this.#scale(deployment, { set, replicas: remaining });
    }
  }

  #createSet(deployment: Deployment, revision: number): ReplicaSet {
    const { namespace = "", name } = deployment.metadata;
    const hash = templateHash(deployment);
    const { template, selector } = deployment.spec;
    const labels = { ...template.metadata?.labels, [HASH_LABEL]: hash };
    const metadata = {
      ...deployment.metadata,
      annotations: { ...deployment.metadata.annotations, [REVISION]: `${revision}` },
    };
    this.#registry.replace(DEPLOYMENTS, { ...deployment, metadata });
    return this.#registry.create(REPLICA_SETS, {
      metadata: {
        name: `${name}-${hash}`,
        labels,
        annotations: { [REVISION]: `${revision}` },
        ownerReferences: [controllerReference(deployment)],
      },
      spec: {
        replicas: 0,
        selector: { ...selector, matchLabels: { ...selector.matchLabels, [HASH_LABEL]: hash } },
        template: { ...template, metadata: { ...template.metadata, labels } },
      },
    }, namespace) as ReplicaSet;
  }

  #scale(deployment: Deployment, { set, replicas }: { set: ReplicaSet; replicas: number }): void {
    const before = set.spec.replicas ?? 0;
    if (before === replicas) return;
    this.#registry.patch(REPLICA_SETS, (current) => {
      const { spec } = current as ReplicaSet;
      return { ...current, spec: { ...spec, replicas } };
    }, keyOf(set));
    const direction = replicas > before ? "up" : "down";
    recordEvent(this.#registry, deployment, {
      reason: "ScalingReplicaSet",
      message: `Scaled ${direction} replica set ${set.metadata.name} from ${before} to ${replicas}`,
      component: "deployment-controller",
    });
  }
}

function isCurrent(deployment: Deployment, set: ReplicaSet): boolean {
  return set.metadata.labels?.[HASH_LABEL] === templateHash(deployment);
}

/** Hash of a pod template: FNV-1a of its JSON. */
function templateHash({ spec }: Deployment): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(JSON.stringify(spec.template))) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash.toString(16).padStart(8, "0");
}

function revisionAfter(old: readonly ReplicaSet[]): number {
  return 1 + Math.max(0, ...old.map((set) => Number(set.metadata.annotations?.[REVISION] ?? 0)));
}

function total(counts: readonly (number | undefined)[]): number {
  return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
}

/** Resolves a count, or a percentage of `of` such as "25%". */
function resolve(value: unknown, { of, round }: { of: number; round: (share: number) => number }): number {
  const text = String(value ?? 0);
  return text.endsWith("%") ? round(of * Number.parseInt(text) / 100) : Number(text);
}
