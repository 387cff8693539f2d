/**
 * Plays the components that the test clusters lack: writes what a real node, provisioner or autoscaler would write.
 * @module
 */
import {
  CoreV1Api,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
  type V1ContainerState,
  type V1Pod,
  type V1PodStatus,
} from "@kubernetes/client-node";
import { delay } from "@std/async";
import type { TestCluster } from "./clusters.ts";

const MERGE = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);

/** Writes to the namespace of a test. */
export class Actor {
  readonly #cluster: TestCluster;
  readonly #core: CoreV1Api;

  constructor(cluster: TestCluster) {
    this.#cluster = cluster;
    this.#core = cluster.config.makeApiClient(CoreV1Api);
  }

  /** Waits for a pod of a session that fulfils the condition and is not one of `besides`. */
  async pod(
    sessionId: string,
    { isTrue = () => true, besides = [] }: { isTrue?: (pod: V1Pod) => boolean; besides?: readonly V1Pod[] } =
      {},
  ): Promise<V1Pod> {
    const signal = AbortSignal.timeout(60_000);
    const known = besides.map((pod) => pod.metadata?.uid);
    while (true) {
      const pods = await this.#cluster.list("v1", "Pod") as V1Pod[];
      const found = pods.find((pod) =>
        pod.metadata?.labels?.session === sessionId && !known.includes(pod.metadata?.uid) && isTrue(pod)
      );
      if (found) return found;
      await delay(50, { signal });
    }
  }

  /** Waits for a pod of a session whose container a simulated node has started to create; with the image `stuck` it stays like this. */
  async begun(sessionId: string, besides: readonly V1Pod[] = []): Promise<V1Pod> {
    const isTrue = ({ status }: V1Pod) => status?.containerStatuses?.[0]?.state?.waiting !== undefined;
    return await this.pod(sessionId, { isTrue, besides });
  }

  /** Changes fields of a pod's status. */
  async report({ metadata }: V1Pod, status: Partial<V1PodStatus>): Promise<void> {
    const { name = "" } = metadata ?? {};
    const { namespace } = this.#cluster;
    await this.#core.patchNamespacedPodStatus({ name, namespace, body: { status } }, MERGE);
  }

  /** Writes the state of a pod's only container. */
  async container(
    pod: V1Pod,
    state: V1ContainerState,
    rest: { restartCount?: number; lastState?: V1ContainerState } = {},
  ): Promise<void> {
    const image = pod.spec?.containers[0]?.image ?? "";
    const status = { name: "session", image, imageID: "", ready: false, restartCount: 0, state, ...rest };
    await this.report(pod, { containerStatuses: [status] });
  }

  /** Records an event for an object. */
  async recordEvent(
    { kind = "Pod", metadata }: KubernetesObject,
    reason: string,
    message: string,
  ): Promise<void> {
    const { name = "", uid = "", namespace = "" } = metadata ?? {};
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${name}.${crypto.randomUUID().slice(0, 8)}` },
      involvedObject: { apiVersion: "v1", kind, name, uid, namespace },
      type: "Warning",
      reason,
      message,
      count: 1,
      source: { component: "test" },
    };
    await this.#cluster.create(event);
  }

  /** Binds a pod to a node, as a scheduler does. */
  async bind({ metadata }: V1Pod, node: string): Promise<void> {
    const { name = "" } = metadata ?? {};
    const { namespace } = this.#cluster;
    const body = { metadata: { name }, target: { apiVersion: "v1", kind: "Node", name: node } };
    await this.#core.createNamespacedPodBinding({ name, namespace, body }).catch((error) => {
      // The response is a Status, which client-node parses as a Binding without its target.
      if (error?.code !== undefined && error.code !== 201) throw error;
    });
  }
}

/** The state of a waiting container. */
export function waiting(reason: string, message = ""): V1ContainerState {
  return { waiting: { reason, message } };
}

/** The state of a terminated container. */
export function ended(reason: string, parts: { exitCode: number; message?: string }): V1ContainerState {
  return { terminated: { reason, ...parts } };
}
