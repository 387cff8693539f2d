/**
 * Admission policies of a real API server that change or deny objects of a test's namespace, as those of a cluster's operators do.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { delay } from "@std/async";
import type { TestCluster } from "./clusters.ts";

/** The objects that a policy applies to when they are created. */
export interface AdmissionRule {
  /** Empty for core resources. */
  readonly apiGroup: string;
  readonly resource: string;
  /** An object that shows in a dry run whether the policy is in effect. */
  readonly probe: KubernetesObject;
}

/** What a policy changes. */
export interface Mutation extends AdmissionRule {
  /** CEL expression of a list of JSON patch operations: `[JSONPatch{op: "replace", path: "/spec/replicas", value: 2}]`. */
  readonly patch: string;
  /** Whether the policy has changed the probe. */
  readonly hasEffect: (object: KubernetesObject) => boolean;
}

const API_VERSION = "admissionregistration.k8s.io/v1";

/** Installs a policy that changes objects; disposing it removes it. */
export async function mutate(cluster: TestCluster, mutation: Mutation): Promise<AsyncDisposable> {
  const { patch, hasEffect } = mutation;
  return await install(cluster, mutation, {
    kind: "MutatingAdmissionPolicy",
    spec: {
      mutations: [{ patchType: "JSONPatch", jsonPatch: { expression: patch } }],
      reinvocationPolicy: "Never",
      failurePolicy: "Fail",
    },
    binding: {},
    isInEffect: async (created) => hasEffect(await created),
  });
}

/** Installs a policy that denies objects; disposing it removes it. */
export async function deny(cluster: TestCluster, rule: AdmissionRule): Promise<AsyncDisposable> {
  return await install(cluster, rule, {
    kind: "ValidatingAdmissionPolicy",
    spec: { validations: [{ expression: "false" }] },
    binding: { validationActions: ["Deny"] },
    isInEffect: (created) => created.then(() => false, () => true),
  });
}

interface Policy {
  readonly kind: string;
  readonly spec: object;
  readonly binding: object;
  /** Whether the policy had an effect on the probe. */
  readonly isInEffect: (created: Promise<KubernetesObject>) => Promise<boolean>;
}

/** Installs a policy for the namespace and waits until it is in effect. */
async function install(
  cluster: TestCluster,
  { apiGroup, resource, probe }: AdmissionRule,
  { kind, spec, binding, isInEffect }: Policy,
): Promise<AsyncDisposable> {
  const { namespace } = cluster;
  const name = `${namespace}-${resource}`;
  const rule = {
    apiGroups: [apiGroup],
    apiVersions: ["v1"],
    operations: ["CREATE"],
    resources: [resource],
  };
  const namespaceSelector = { matchLabels: { "kubernetes.io/metadata.name": namespace } };
  const objects = [
    { kind, spec: { ...spec, matchConstraints: { resourceRules: [rule] } } },
    { kind: `${kind}Binding`, spec: { ...binding, policyName: name, matchResources: { namespaceSelector } } },
  ].map((object) => ({ apiVersion: API_VERSION, metadata: { name }, ...object }));
  for (const object of objects) await cluster.objects.create(object);
  const metadata = { namespace, ...probe.metadata };
  const signal = AbortSignal.timeout(10_000);
  while (!await isInEffect(cluster.objects.create({ ...probe, metadata }, undefined, "All"))) {
    await delay(50, { signal });
  }
  return {
    [Symbol.asyncDispose]: async () => {
      for (const object of objects) await cluster.objects.delete(object);
    },
  };
}
