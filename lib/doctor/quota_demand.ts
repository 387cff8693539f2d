/**
 * What one more session takes of a quota. Pure.
 * Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
 * @module
 */
import type { V1Deployment, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { parseQuantity } from "../common/quantities.ts";
import type { TrialObject } from "./trial_session.ts";

/** Amounts by the names that quotas have for them, such as `pods`, `requests.cpu` and `count/deployments.apps`. */
export type Demand = ReadonlyMap<string, number>;

/** What the objects of a session take, and the pod that its Deployment makes. */
export function demandOf(objects: readonly TrialObject[]): Demand {
  const amounts = objects.flatMap(({ api, resource, object }) => [
    ...counted(resource, /^\/apis\/([^/]+)/.exec(api)?.[1]),
    ...(resource === "deployments" ? ofPod(object as V1Deployment) : []),
    ...(resource === "persistentvolumeclaims" ? ofStorage(object as V1PersistentVolumeClaim) : []),
  ]);
  return new Map(amounts);
}

function counted(resource: string, group?: string): Array<[string, number]> {
  return group ? [[`count/${resource}.${group}`, 1]] : [[resource, 1], [`count/${resource}`, 1]];
}

function ofPod({ spec }: V1Deployment): Array<[string, number]> {
  const { requests = {}, limits = {} } = spec?.template.spec?.containers[0]?.resources ?? {};
  return [
    ...counted("pods"),
    ...counted("replicasets", "apps"),
    ...Object.entries(requests).flatMap(([name, amount]) => [
      ...amountOf(name, amount),
      ...amountOf(`requests.${name}`, amount),
    ]),
    ...Object.entries(limits).flatMap(([name, amount]) => amountOf(`limits.${name}`, amount)),
  ];
}

function ofStorage({ spec }: V1PersistentVolumeClaim): Array<[string, number]> {
  const size = spec?.resources?.requests?.storage ?? "";
  const ofClass = `${spec?.storageClassName}.storageclass.storage.k8s.io`;
  return [
    ...amountOf("requests.storage", size),
    ...amountOf(`${ofClass}/requests.storage`, size),
    [`${ofClass}/persistentvolumeclaims`, 1],
  ];
}

function amountOf(name: string, amount: string): Array<[string, number]> {
  const parsed = parseQuantity(amount);
  return parsed === undefined ? [] : [[name, parsed]];
}
