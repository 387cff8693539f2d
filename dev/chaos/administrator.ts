/**
 * An administrator with a direct connection to the API server, without faults: reads the objects of sessions and deletes some of them.
 * @module
 */
import {
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
  type V1ConfigMap,
  type V1Deployment,
  type V1NetworkPolicy,
  type V1PersistentVolumeClaim,
  type V1Pod,
  type V1ReplicaSet,
  type V1Service,
} from "@kubernetes/client-node";
import { deadline, retry } from "@std/async";
import { clientNodeConfig } from "../api_server.ts";
import { APP_LABEL, SESSION_LABEL } from "../../lib/model/names.ts";
import type { Deletion } from "./event.ts";

/** The objects of a session. */
export interface SessionParts {
  deployment?: V1Deployment;
  service?: V1Service;
  policy?: V1NetworkPolicy;
  replicaSet?: V1ReplicaSet;
  claim?: V1PersistentVolumeClaim;
  readonly pods: V1Pod[];
}

/** Timeout of a request, in milliseconds: the API server may be frozen for a while. */
const REQUEST_MS = 20_000;
const DEPLOYMENT = ["apps/v1", "Deployment"] as const;
const SERVICE = ["v1", "Service"] as const;
const CLAIM = ["v1", "PersistentVolumeClaim"] as const;
const POD = ["v1", "Pod"] as const;
const REPLICA_SET = ["apps/v1", "ReplicaSet"] as const;
const POLICY = ["networking.k8s.io/v1", "NetworkPolicy"] as const;

/** Works in a namespace of its own, which it deletes in the end. */
export class Administrator implements AsyncDisposable {
  readonly namespace: string;
  readonly #objects: KubernetesObjectApi;

  private constructor(objects: KubernetesObjectApi, namespace: string) {
    this.#objects = objects;
    this.namespace = namespace;
  }

  /** Creates the namespace. */
  static async open(kubeconfig: string): Promise<Administrator> {
    const objects = KubernetesObjectApi.makeApiClient(clientNodeConfig(kubeconfig));
    const namespace = `chaos-${crypto.randomUUID().slice(0, 8)}`;
    await objects.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
    return new Administrator(objects, namespace);
  }

  /** All sessions with at least one object, by their ids. */
  async sessions(): Promise<Map<string, SessionParts>> {
    const [policies, replicaSets, deployments, services, claims, pods] = await Promise.all([
      this.#list<V1NetworkPolicy>(POLICY),
      this.#list<V1ReplicaSet>(REPLICA_SET),
      this.#list<V1Deployment>(DEPLOYMENT),
      this.#list<V1Service>(SERVICE),
      this.#list<V1PersistentVolumeClaim>(CLAIM),
      this.#list<V1Pod>(POD),
    ]);
    const sessions = new Map<string, SessionParts>();
    const of = (object: KubernetesObject) => {
      const sessionId = object.metadata?.labels?.[SESSION_LABEL] ?? "";
      const parts = sessions.get(sessionId) ?? { pods: [] };
      sessions.set(sessionId, parts);
      return parts;
    };
    for (const policy of policies) of(policy).policy = policy;
    for (const replicaSet of replicaSets) of(replicaSet).replicaSet = replicaSet;
    for (const deployment of deployments) of(deployment).deployment = deployment;
    for (const service of services) of(service).service = service;
    for (const claim of claims) of(claim).claim = claim;
    for (const pod of pods) of(pod).pods.push(pod);
    return sessions;
  }

  /** The data of a ConfigMap. */
  async configMap(name: string): Promise<Readonly<Record<string, string>>> {
    const maps = await this.#list<V1ConfigMap>(["v1", "ConfigMap"]);
    return maps.find(({ metadata }) => metadata?.name === name)?.data ?? {};
  }

  /** Deletes objects of a session and returns their names. */
  async delete({ sessionId, target }: Deletion): Promise<string[]> {
    const parts: SessionParts = (await this.sessions()).get(sessionId) ?? { pods: [] };
    const { deployment, service, policy, replicaSet, claim, pods } = parts;
    if (target === "labels") return deployment ? [await this.#removeLabel(deployment)] : [];
    const targets: (readonly [kind: readonly [string, string], object: KubernetesObject | undefined])[] =
      target === "pod"
        ? pods.map((pod) => [POD, pod] as const)
        : target === "replicaset"
        ? [[REPLICA_SET, replicaSet]]
        : target === "service"
        ? [[SERVICE, service]]
        : target === "policy"
        ? [[POLICY, policy]]
        : target === "deployment"
        ? [[DEPLOYMENT, deployment]]
        : [[DEPLOYMENT, deployment], [SERVICE, service], [POLICY, policy], [CLAIM, claim]];
    const present = targets.filter(([, object]) => object !== undefined);
    await Promise.all(present.map(([kind, object]) => this.#delete(kind, object?.metadata?.name ?? "")));
    return present.map(([[, kind], object]) => `${kind}/${object?.metadata?.name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const metadata = { name: this.namespace };
    await inTime(this.#objects.delete({ apiVersion: "v1", kind: "Namespace", metadata }));
  }

  async #removeLabel({ metadata }: V1Deployment): Promise<string> {
    const [apiVersion, kind] = DEPLOYMENT;
    const name = metadata?.name ?? "";
    const labels = { [APP_LABEL]: null as unknown as string };
    const object = { apiVersion, kind, metadata: { name, namespace: this.namespace, labels } };
    const options = [undefined, undefined, undefined, undefined, PatchStrategy.MergePatch] as const;
    await inTime(this.#objects.patch(object, ...options)).catch((error) => {
      if (!String(error).includes("404")) throw error;
    });
    return `the label ${APP_LABEL} of Deployment/${name}`;
  }

  /** Retries, as the API server may just have been frozen. */
  async #list<T extends KubernetesObject>([apiVersion, kind]: readonly [string, string]): Promise<T[]> {
    const list = () => inTime(this.#objects.list<T>(apiVersion, kind, this.namespace));
    const { items } = await retry(list, { minTimeout: 500 });
    return items;
  }

  /** Deletes dependents first, as `kubectl delete --cascade=foreground` does. Objects that are already gone are ignored. */
  async #delete([apiVersion, kind]: readonly [string, string], name: string): Promise<void> {
    const object = { apiVersion, kind, metadata: { name, namespace: this.namespace } };
    const options = [undefined, undefined, undefined, undefined, "Foreground"] as const;
    await inTime(this.#objects.delete(object, ...options)).catch((error) => {
      if (!String(error).includes("404")) throw error;
    });
  }
}

function inTime<T>(request: Promise<T>): Promise<T> {
  return deadline(request, REQUEST_MS);
}
