/**
 * The Kubernetes objects that the agent writes, through client-node's typed APIs: those that a session consists of, and the lease that says
 * who leads.
 * @module
 */
import {
  AppsV1Api,
  type Configuration,
  CoordinationV1Api,
  CoreV1Api,
  createConfiguration,
  NetworkingV1Api,
  PatchStrategy,
  ServerConfiguration,
  setHeaderOptions,
  type V1DeleteOptions,
  type V1Deployment,
  type V1Lease,
  type V1NetworkPolicy,
  type V1PersistentVolumeClaim,
  type V1Service,
  wrapHttpLibrary,
} from "@kubernetes/client-node";
import { hasStatus } from "../common/errors.ts";
import type { Transport } from "./transport.ts";

/** What the agent does with objects of one kind. Every method rejects with a {@linkcode KubernetesError}. */
export interface ObjectApi<T> {
  create(object: T): Promise<T>;
  /** Gives `undefined` for an object that does not exist. */
  read(name: string): Promise<T | undefined>;
  /** Asks for deletion of just this object, dependents included; one that is gone already is fine. */
  delete(name: string, uid: string): Promise<void>;
}

/** `null` removes one. */
type Annotations = Readonly<Record<string, string | null>>;

/** The APIs that a session needs, in one namespace. */
export interface SessionClient {
  readonly deployments: ObjectApi<V1Deployment>;
  readonly services: ObjectApi<V1Service>;
  readonly claims: ObjectApi<V1PersistentVolumeClaim>;
  readonly policies: ObjectApi<V1NetworkPolicy>;
  /** Sets how many pods a Deployment wants, and annotations, and gives the changed object. */
  scale(name: string, change: { replicas: 0 | 1; annotations: Annotations }): Promise<V1Deployment>;
  /** Sets annotations of a Service and gives the changed object. */
  annotate(serviceName: string, annotations: Annotations): Promise<V1Service>;
}

/** What leader election does with leases in one namespace. Every method rejects with a {@linkcode KubernetesError}. */
export interface LeaseApi {
  /** Gives `undefined` for a lease that does not exist. */
  read(name: string): Promise<V1Lease | undefined>;
  create(lease: V1Lease): Promise<V1Lease>;
  /** Writes a lease as a whole; refused with 409 if it was changed since the version that the given one carries. */
  replace(lease: V1Lease): Promise<V1Lease>;
}

/** Builds the typed APIs for sessions over a transport. */
export function createSessionClient(transport: Transport, namespace: string): SessionClient {
  const configuration = configurationOf(transport);
  const apps = new AppsV1Api(configuration);
  const core = new CoreV1Api(configuration);
  const networking = new NetworkingV1Api(configuration);
  return {
    deployments: {
      create: (body) => apps.createNamespacedDeployment({ namespace, body }),
      read: (name) => orUndefined(apps.readNamespacedDeployment({ name, namespace })),
      delete: (name, uid) =>
        orGone(apps.deleteNamespacedDeployment({ name, namespace, body: deleteOptions(uid) })),
    },
    services: {
      create: (body) => core.createNamespacedService({ namespace, body }),
      read: (name) => orUndefined(core.readNamespacedService({ name, namespace })),
      delete: (name, uid) =>
        orGone(core.deleteNamespacedService({ name, namespace, body: deleteOptions(uid) })),
    },
    claims: {
      create: (body) => core.createNamespacedPersistentVolumeClaim({ namespace, body }),
      read: (name) => orUndefined(core.readNamespacedPersistentVolumeClaim({ name, namespace })),
      delete: (name, uid) =>
        orGone(
          core.deleteNamespacedPersistentVolumeClaim({ name, namespace, body: deleteOptions(uid) }),
        ),
    },
    policies: {
      create: (body) => networking.createNamespacedNetworkPolicy({ namespace, body }),
      read: (name) => orUndefined(networking.readNamespacedNetworkPolicy({ name, namespace })),
      delete: (name, uid) =>
        orGone(networking.deleteNamespacedNetworkPolicy({ name, namespace, body: deleteOptions(uid) })),
    },
    scale: (name, { replicas, annotations }) =>
      apps.patchNamespacedDeployment(
        { name, namespace, body: { metadata: { annotations }, spec: { replicas } } },
        setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
      ),
    annotate: (name, annotations) =>
      core.patchNamespacedService(
        { name, namespace, body: { metadata: { annotations } } },
        setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
      ),
  };
}

/** Builds the typed API for leases over a transport. */
export function createLeaseApi(transport: Transport, namespace: string): LeaseApi {
  const coordination = new CoordinationV1Api(configurationOf(transport));
  return {
    read: (name) => orUndefined(coordination.readNamespacedLease({ name, namespace })),
    create: (body) => coordination.createNamespacedLease({ namespace, body }),
    replace: (body) =>
      coordination.replaceNamespacedLease({ name: body.metadata?.name ?? "", namespace, body }),
  };
}

/** How the generated clients reach the API server: by a transport. */
export function configurationOf(transport: Transport): Configuration {
  return createConfiguration({
    baseServer: new ServerConfiguration(transport.server, {}),
    httpApi: wrapHttpLibrary(transport),
  });
}

/**
 * Foreground: the owner goes last, so that its end means that nothing of it is left. The uid keeps a namesake that came later alive.
 * Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 */
function deleteOptions(uid: string): V1DeleteOptions {
  return { propagationPolicy: "Foreground", preconditions: { uid } };
}

/** What a request gives, or `undefined` where what it is about does not exist. */
export async function orUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

/** A conflict here means that another object has the name by now, so that the one to delete is gone as well. */
async function orGone(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!hasStatus(error, 404, 409)) throw error;
  }
}
