/**
 * The simulated node: it runs no containers, but reports the lifecycle of pods as a real node does. The last element of
 * the first container's image selects the lifecycle:
 *
 * - `missing`: the image cannot be pulled (ErrImagePull, then ImagePullBackOff)
 * - `crashing`: the container keeps failing (CrashLoopBackOff)
 * - `slow`: ready 20 s after its start
 * - `stuck`: ContainerCreating forever
 * - any other: running and ready
 * @module
 */
import { delay } from "@std/async";
import { type Pod, type PodStatus, timestamp } from "./api_objects.ts";
import { type Controller, keyOf, type ObjectKey } from "./controller.ts";
import { recordEvent } from "./events.ts";
import type { Registry } from "./registry.ts";
import { PODS } from "./resources.ts";
import type { Change } from "./store.ts";

type ContainerStatus = NonNullable<PodStatus["containerStatuses"]>[number];
type ContainerState = NonNullable<ContainerStatus["state"]>;

/** Durations of the node, in milliseconds. */
export interface KubeletTimes {
  /** Time from a pod's creation to the start of its first container. */
  readonly podStartMs: number;
  /** Time from a pod's deletion until it is removed. */
  readonly podStopMs: number;
}

/** A running pod with its address. */
export interface RunningPod {
  readonly name: string;
  readonly ip: string;
  /** The ports that its containers declare. */
  readonly ports: readonly number[];
}

/** Serves the ports of a pod until the signal is aborted. */
export type ServePod = (pod: RunningPod, signal: AbortSignal) => void;

interface Life {
  readonly ended: AbortController;
  readonly ip: string;
  isStopping: boolean;
}

/** Status that the node reports for a pod. */
interface Report {
  readonly phase: "Pending" | "Running";
  readonly state: ContainerState;
  readonly ip?: string;
  readonly isReady?: boolean;
  readonly restarts?: number;
}

/** The addresses of pods are 127.1.0.0 and above. */
const FIRST_ADDRESS = 1 << 16;
const ADDRESSES = 254 << 16;
const SLOW_MS = 20_000;
const BACK_OFF_MS = 1_000;
const CRASH_AFTER_MS = 200;
const RESTART_MS = 2_000;

/** Simulates the pods of the node until it is disposed. */
export class Kubelet implements Controller, Disposable {
  readonly #registry: Registry;
  readonly #times: KubeletTimes;
  readonly #servePod: ServePod | undefined;
  readonly #lives = new Map<string, Life>();
  readonly #stopped = new AbortController();
  /** Each cluster begins somewhere else on loopback, so that the servers of pods of two clusters do not collide. */
  #lastAddress = Math.floor(Math.random() * ADDRESSES);

  constructor(registry: Registry, times: KubeletTimes, servePod?: ServePod) {
    this.#registry = registry;
    this.#times = times;
    this.#servePod = servePod;
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
    for (const life of this.#lives.values()) life.ended.abort();
  }

  *affected({ type, resource, object }: Change): Iterable<ObjectKey> {
    if (resource !== PODS) return;
    if (type === "DELETED") this.#forget(object.metadata.uid);
    else yield keyOf(object);
  }

  reconcile({ namespace, name }: ObjectKey): void {
    const pod = this.#registry.store.get(PODS, namespace, name);
    if (!pod?.spec.nodeName) return;
    const life = this.#lives.get(pod.metadata.uid);
    if (pod.metadata.deletionTimestamp) {
      if (life?.isStopping) return;
      const ended = life ?? this.#begin(pod);
      ended.isStopping = true;
      ended.ended.abort();
      run(this.#stop(pod));
    } else if (!life) {
      run(this.#live(pod, this.#begin(pod)));
    }
  }

  #begin(pod: Pod): Life {
    this.#lastAddress = (this.#lastAddress + 1) % ADDRESSES;
    const address = FIRST_ADDRESS + this.#lastAddress;
    const ip = `127.${address >> 16}.${address >> 8 & 255}.${address & 255}`;
    const life = { ended: new AbortController(), ip, isStopping: false };
    this.#lives.set(pod.metadata.uid, life);
    return life;
  }

  #forget(uid: string): void {
    this.#lives.get(uid)?.ended.abort();
    this.#lives.delete(uid);
  }

  async #stop(pod: Pod): Promise<void> {
    await delay(this.#times.podStopMs, { signal: this.#stopped.signal });
    const { uid } = pod.metadata;
    if (
      this.#registry.store.get(PODS, pod.metadata.namespace ?? "", pod.metadata.name)?.metadata.uid !== uid
    ) return;
    this.#registry.delete(PODS, keyOf(pod), { gracePeriodSeconds: 0 });
  }

  async #live(pod: Pod, { ended: { signal }, ip }: Life): Promise<void> {
    const image = pod.spec.containers[0]?.image ?? "";
    this.#report(pod, { phase: "Pending", state: waiting("ContainerCreating") });
    await delay(this.#times.podStartMs, { signal });
    switch (image.split("/").at(-1)?.split(":")[0]) {
      case "stuck":
        return;
      case "missing":
        return await this.#failToPull(pod, { ip, image, signal });
      case "crashing":
        return await this.#crashAgainAndAgain(pod, { ip, signal });
      case "slow":
        this.#report(pod, { phase: "Running", state: running(), ip });
        await delay(SLOW_MS, { signal });
    }
    const ports = pod.spec.containers.flatMap(({ ports = [] }) =>
      ports.map(({ containerPort }) => containerPort)
    );
    this.#servePod?.({ name: pod.metadata.name, ip, ports }, signal);
    this.#report(pod, { phase: "Running", state: running(), ip, isReady: true });
    this.#record(pod, "Started", `Started container ${pod.spec.containers[0]?.name}`);
  }

  async #failToPull(pod: Pod, at: { ip: string; image: string; signal: AbortSignal }): Promise<void> {
    const { ip, image, signal } = at;
    const failed = waiting("ErrImagePull", `failed to pull image ${image}: not found`);
    this.#report(pod, { phase: "Pending", state: failed, ip });
    this.#record(pod, "Failed", `Failed to pull image "${image}": not found`);
    await delay(BACK_OFF_MS, { signal });
    const state = waiting("ImagePullBackOff", `Back-off pulling image "${image}"`);
    this.#report(pod, { phase: "Pending", state, ip });
    this.#record(pod, "BackOff", `Back-off pulling image "${image}"`);
  }

  async #crashAgainAndAgain(pod: Pod, { ip, signal }: { ip: string; signal: AbortSignal }): Promise<void> {
    const state = waiting("CrashLoopBackOff", "back-off restarting failed container (exit code 1)");
    for (let restarts = 0; !signal.aborted; restarts++) {
      this.#report(pod, { phase: "Running", state: running(), ip, restarts });
      await delay(CRASH_AFTER_MS, { signal });
      this.#report(pod, { phase: "Running", state, ip, restarts: restarts + 1 });
      this.#record(pod, "BackOff", "Back-off restarting failed container");
      await delay(RESTART_MS, { signal });
    }
  }

  #report(pod: Pod, { phase, state, ip, isReady = false, restarts = 0 }: Report): void {
    const previous = this.#registry.store.get(PODS, pod.metadata.namespace ?? "", pod.metadata.name)?.status;
    const now = timestamp();
    const ready = isReady ? "True" : "False";
    const facts = [["PodScheduled", "True"], ["Initialized", "True"], ["ContainersReady", ready], [
      "Ready",
      ready,
    ]];
    this.#registry.setStatus(PODS, pod, {
      phase,
      hostIP: "127.0.0.1",
      startTime: previous?.startTime ?? now,
      ...(ip ? { podIP: ip, podIPs: [{ ip }] } : {}),
      qosClass: pod.status.qosClass,
      conditions: facts.map(([type = "", status = ""]) => {
        const before = previous?.conditions?.find((condition) => condition.type === type);
        const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now;
        return { type, status, lastTransitionTime };
      }),
      containerStatuses: pod.spec.containers.map(({ name, image = "" }) => (
        {
          name,
          image,
          imageID: "",
          state,
          lastState: {},
          ready: isReady,
          started: isReady,
          restartCount: restarts,
        }
      )),
    });
  }

  #record(pod: Pod, reason: string, message: string): void {
    const type = reason === "Started" ? "Normal" : "Warning";
    recordEvent(this.#registry, pod, { type, reason, message, component: "kubelet" });
  }
}

function waiting(reason: string, message?: string): ContainerState {
  return { waiting: { reason, ...(message ? { message } : {}) } };
}

function running(): ContainerState {
  return { running: { startedAt: timestamp() } };
}

/** Runs a lifecycle to its end; an abort is no error. */
function run(life: Promise<void>): void {
  life.catch((error) => {
    if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
  });
}
