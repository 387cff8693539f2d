/**
 * A Kubernetes cluster in memory: the API over HTTP on loopback, control loops, and one simulated node.
 * Tests and the demo start one where a real cluster is slow or not available.
 * @module
 */
import type { AccessAttributes, Authorize } from "./access.ts";
import { timestamp } from "./api_objects.ts";
import { ControllerManager } from "./controller.ts";
import { DEFAULT_STORAGE_CLASS } from "./defaults.ts";
import { DeploymentController } from "./deployment_controller.ts";
import { type Fault, Faults } from "./faults.ts";
import { GarbageCollector, NamespaceController } from "./garbage_collector.ts";
import { Kubelet, type RunningPod, type ServePod } from "./kubelet.ts";
import { Registry } from "./registry.ts";
import { ReplicaSetController } from "./replica_set_controller.ts";
import { NAMESPACES, NODES, STORAGE_CLASSES } from "./resources.ts";
import { Scheduler } from "./scheduler.ts";
import { createHandler, type RecordedRequest } from "./server.ts";
import { Store } from "./store.ts";
import { ClaimController } from "./volumes.ts";
import { Watches } from "./watch.ts";

export type { AccessAttributes, Authorize, Fault, RecordedRequest, RunningPod };

/** Options of a {@linkcode Cluster}. */
export interface ClusterOptions {
  /** Port to listen on; 0 for any free one. @default {0} */
  readonly port?: number;
  /** Time from a pod's creation until it is ready, in milliseconds. @default {200} */
  readonly podStartMs?: number;
  /** Time from a pod's deletion until it is removed, in milliseconds. @default {100} */
  readonly podStopMs?: number;
  /** Namespaces that exist from the start. @default {["default", "streamspace"]} */
  readonly namespaces?: readonly string[];
  /** Serves the ports of each pod while it runs. @default nothing listens at them */
  readonly servePod?: ServePod;
  /** Authorizes requests and answers access reviews. @default everything is allowed */
  readonly authorize?: Authorize;
}

const NODE = "node-1";

/** A running cluster; disposing it ends its connections, controllers and timers. */
export class Cluster implements AsyncDisposable {
  /** URL of its API. */
  readonly url: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #store = new Store();
  readonly #watches = new Watches(this.#store);
  readonly #faults = new Faults();
  readonly #requests: RecordedRequest[] = [];
  readonly #kubelet: Kubelet;
  readonly #controllers: ControllerManager;

  /** Starts a cluster, which serves immediately. */
  static start(options: ClusterOptions = {}): Cluster {
    return new Cluster(options);
  }

  private constructor(options: ClusterOptions) {
    const { port = 0, podStartMs = 200, podStopMs = 100, namespaces = ["default", "streamspace"] } = options;
    const registry = new Registry(this.#store);
    this.#kubelet = new Kubelet(registry, { podStartMs, podStopMs }, options.servePod);
    this.#controllers = new ControllerManager(this.#store, [
      new DeploymentController(registry),
      new ReplicaSetController(registry),
      new ClaimController(registry),
      new Scheduler(registry, NODE),
      this.#kubelet,
      new GarbageCollector(registry),
      new NamespaceController(registry),
    ]);
    furnish(registry, namespaces);
    const handler = createHandler({
      registry,
      watches: this.#watches,
      faults: this.#faults,
      authorize: options.authorize ?? (() => true),
      record: (request) => this.#requests.push(request),
    });
    this.#server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, handler);
    this.url = `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** A kubeconfig for this cluster, as YAML. */
  kubeconfig(): string {
    return `apiVersion: v1
kind: Config
clusters:
- name: memory
  cluster:
    server: ${this.url}
    insecure-skip-tls-verify: true
contexts:
- name: memory
  context:
    cluster: memory
    user: developer
current-context: memory
users:
- name: developer
  user: {}
`;
  }

  /** Requests that were answered, oldest first; a watch counts when it opens. */
  get requests(): readonly RecordedRequest[] {
    return this.#requests;
  }

  /** Makes the next matching requests fail. */
  failNext(fault: Fault): void {
    this.#faults.add(fault);
  }

  /** Ends all open watches, as a proxy in between could. */
  closeWatches(): void {
    this.#watches.closeAll();
  }

  /** Drops the history: open watches end with error 410, and no watch can start from an earlier revision. */
  expireWatches(): void {
    this.#store.compact();
    this.#watches.expireAll();
  }

  /** Stops the cluster after requests in flight are answered. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#controllers[Symbol.dispose]();
    this.#kubelet[Symbol.dispose]();
    this.#watches.closeAll();
    await this.#server.shutdown();
  }
}

/** Objects that every cluster has from the start. */
function furnish(registry: Registry, namespaces: readonly string[]): void {
  for (const name of namespaces) registry.create(NAMESPACES, { metadata: { name } }, "");
  registry.create(STORAGE_CLASSES, {
    metadata: {
      name: DEFAULT_STORAGE_CLASS,
      annotations: { "storageclass.kubernetes.io/is-default-class": "true" },
    },
    provisioner: "simulated.example/memory",
    reclaimPolicy: "Delete",
    volumeBindingMode: "Immediate",
  }, "");
  const capacity = { cpu: "4k", memory: "8000Gi", pods: "10k" };
  const condition = { type: "Ready", status: "True", reason: "Simulated", lastTransitionTime: timestamp() };
  registry.create(NODES, {
    metadata: { name: NODE, labels: { "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux" } },
    spec: {},
    status: {
      capacity,
      allocatable: capacity,
      addresses: [{ type: "InternalIP", address: "127.0.0.1" }],
      conditions: [condition],
      nodeInfo: { kubeletVersion: "v1.33.0", architecture: "amd64", operatingSystem: "linux" },
    },
  }, "");
}
