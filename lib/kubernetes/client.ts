/**
 * The Kubernetes objects that the agent writes, through client-node's typed APIs: those that a session consists of, the lease that says who
 * leads, and the Secret that keeps issued keys.
 * @module
 */
import {
  AppsV1Api,
  type Configuration,
  CoordinationV1Api,
  CoreV1Api,
  createConfiguration,
  KubeConfig,
  PatchStrategy,
  ServerConfiguration,
  setHeaderOptions,
  type V1DeleteOptions,
  type V1Deployment,
  type V1Lease,
  type V1PersistentVolumeClaim,
  type V1Service,
  wrapHttpLibrary,
} from "@kubernetes/client-node";
import { KubernetesError, messageOf } from "../errors.ts";
import { parseProxy } from "../proxies.ts";
import type { Transport } from "./transport.ts";

/** What the agent does with objects of one kind. Every method rejects with a {@linkcode KubernetesError}. */
export interface ObjectApi<T> {
  create(object: T): Promise<T>;
  /** Gives `undefined` for an object that does not exist. */
  read(name: string): Promise<T | undefined>;
  /** Asks for deletion of just this object, dependents included; one that is gone already is fine. */
  delete(name: string, uid: string): Promise<void>;
}

/** The APIs that a session needs, in one namespace. */
export interface SessionClient {
  readonly deployments: ObjectApi<V1Deployment>;
  readonly services: ObjectApi<V1Service>;
  readonly claims: ObjectApi<V1PersistentVolumeClaim>;
  /** Sets how many pods a Deployment wants and gives the changed object. */
  scale(name: string, replicas: 0 | 1): Promise<V1Deployment>;
}

/** What leader election does with leases in one namespace. Every method rejects with a {@linkcode KubernetesError}. */
export interface LeaseApi {
  /** Gives `undefined` for a lease that does not exist. */
  read(name: string): Promise<V1Lease | undefined>;
  create(lease: V1Lease): Promise<V1Lease>;
  /** Writes a lease as a whole; refused with 409 if it was changed since the version that the given one carries. */
  replace(lease: V1Lease): Promise<V1Lease>;
}

/** One agent's text in the Secret of issued keys. Every method rejects with a {@linkcode KubernetesError}. */
export interface IssuedKeyStore {
  /** Gives `undefined` where nothing was written. */
  read(): Promise<string | undefined>;
  /** Writes the text, or removes it where there is none to write. */
  write(text: string | undefined): Promise<void>;
}

/** The one Secret that the agent's Role names. */
const ISSUED_KEY_SECRET = "k8s-agent-issued-key";

/**
 * Loads a kubeconfig file, or the service account's credentials where none is named.
 *
 * @throws {Error} when the file cannot be read, or there is no service account
 */
export function loadKubeConfig(path: string): KubeConfig {
  const config = path ? loadFile(path) : loadServiceAccount();
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new TypeError(`Cannot use kubeconfig ${path} as it names no current cluster`);
  if (cluster.proxyUrl && !parseProxy(cluster.proxyUrl)) {
    throw new TypeError(`Cannot use kubeconfig ${path} as its proxy-url is no http or https URL`);
  }
  if (cluster.server.startsWith("http:")) {
    // There is no certificate to verify, and client-node refuses plain HTTP unless told so.
    config.clusters = config.clusters.map((one) => one === cluster ? { ...one, skipTLSVerify: true } : one);
  } else if (cluster.skipTLSVerify) {
    throw new TypeError(
      `Cannot use kubeconfig ${path} as it turns off the check of the server's certificate`,
    );
  }
  return config;
}

function loadFile(path: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
  } catch (error) {
    throw new Error(`Cannot read the kubeconfig of --kubeconfig (KUBECONFIG): ${messageOf(error)}`, {
      cause: error,
    });
  }
  return config;
}

function loadServiceAccount(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromCluster();
  const token = config.getCurrentUser()?.authProvider?.config?.tokenFile;
  try {
    Deno.readTextFileSync(token);
  } catch (error) {
    const problem = "Cannot find a pod's credentials: outside of a cluster, set --kubeconfig (KUBECONFIG)";
    throw new Error(problem, { cause: error });
  }
  return config;
}

/** Builds the typed APIs for sessions over a transport. */
export function createSessionClient(transport: Transport, namespace: string): SessionClient {
  const configuration = configurationOf(transport);
  const apps = new AppsV1Api(configuration);
  const core = new CoreV1Api(configuration);
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
    scale: (name, replicas) =>
      apps.patchNamespacedDeployment(
        { name, namespace, body: { spec: { replicas } } },
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

/** Builds the store of an issued key over a transport; `agent` is what tells agents in one namespace apart. */
export function createIssuedKeyStore(
  transport: Transport,
  { namespace, agent }: { namespace: string; agent: string },
): IssuedKeyStore {
  const core = new CoreV1Api(configurationOf(transport));
  const name = ISSUED_KEY_SECRET;
  const patch = (text: string | undefined) =>
    core.patchNamespacedSecret(
      { name, namespace, body: { data: { [agent]: text === undefined ? null : btoa(text) } } },
      setHeaderOptions("Content-Type", PatchStrategy.MergePatch),
    );
  const create = (text: string) =>
    core.createNamespacedSecret({
      namespace,
      body: { metadata: { name, labels: { component: "k8s-agent" } }, data: { [agent]: btoa(text) } },
    });
  return {
    read: async () => {
      const secret = await orUndefined(core.readNamespacedSecret({ name, namespace }));
      const value = secret?.data?.[agent];
      return value === undefined ? undefined : atob(value);
    },
    write: async (text) => {
      const isThere = await orUndefined(patch(text)) !== undefined;
      if (isThere || text === undefined) return;
      try {
        await create(text);
      } catch (error) {
        // Another agent of the namespace came first.
        if (!(error instanceof KubernetesError && error.status === 409)) throw error;
        await patch(text);
      }
    },
  };
}

function configurationOf(transport: Transport): Configuration {
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

async function orUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof KubernetesError && error.status === 404) return undefined;
    throw error;
  }
}

/** A conflict here means that another object has the name by now, so that the one to delete is gone as well. */
async function orGone(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!(error instanceof KubernetesError && (error.status === 404 || error.status === 409))) throw error;
  }
}
