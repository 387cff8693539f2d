/**
 * Admission policies of a real API server that change objects of a test's namespace, as those of a cluster's operators do.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { delay } from "@std/async";
import type { TestCluster } from "./clusters.ts";

/** What a policy changes. */
export interface Mutation {
  readonly apiGroup: string;
  readonly resource: string;
  /** CEL expression of a list of JSON patch operations: `[JSONPatch{op: "replace", path: "/spec/replicas", value: 2}]`. */
  readonly patch: string;
  /** An object on which the policy has an effect, and whether a dry run shows it. */
  readonly probe: KubernetesObject;
  readonly hasEffect: (object: KubernetesObject) => boolean;
}

/** Installs a policy and waits until it is in effect; disposing it removes it. */
export async function mutate(cluster: TestCluster, mutation: Mutation): Promise<AsyncDisposable> {
  const { apiGroup, resource, patch, probe, hasEffect } = mutation;
  const name = `${cluster.namespace}-${resource}`;
  const apiVersion = "admissionregistration.k8s.io/v1";
  const rule = {
    apiGroups: [apiGroup],
    apiVersions: ["v1"],
    operations: ["CREATE"],
    resources: [resource],
  };
  const policy = {
    apiVersion,
    kind: "MutatingAdmissionPolicy",
    metadata: { name },
    spec: {
      matchConstraints: { resourceRules: [rule] },
      mutations: [{ patchType: "JSONPatch", jsonPatch: { expression: patch } }],
      reinvocationPolicy: "Never",
      failurePolicy: "Fail",
    },
  };
  const namespaceSelector = { matchLabels: { "kubernetes.io/metadata.name": cluster.namespace } };
  const binding = {
    apiVersion,
    kind: "MutatingAdmissionPolicyBinding",
    metadata: { name },
    spec: { policyName: name, matchResources: { namespaceSelector } },
  };
  const objects = [policy, binding];
  for (const object of objects) await cluster.objects.create(object);
  const metadata = { namespace: cluster.namespace, ...probe.metadata };
  const signal = AbortSignal.timeout(10_000);
  while (!hasEffect(await cluster.objects.create({ ...probe, metadata }, undefined, "All"))) {
    await delay(50, { signal });
  }
  return {
    [Symbol.asyncDispose]: async () => {
      for (const object of objects) await cluster.objects.delete(object);
    },
  };
}
