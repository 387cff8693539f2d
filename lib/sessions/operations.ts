/**
 * The four commands as Kubernetes calls: a request goes in, objects are created, scaled or deleted, what the cluster makes of them is
 * awaited in the shared cache, and a result or an error comes out. Each step can be done again without harm.
 * @module
 */
import type { V1Deployment, V1ObjectMeta, V1Pod } from "@kubernetes/client-node";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { CommandError, KubernetesError, messageOf } from "../errors.ts";
import type { ObjectApi, SessionClient } from "../kubernetes/client.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { log } from "../log.ts";
import { formatDuration } from "../quantities.ts";
import {
  buildManifests,
  DISPLAY_PORT,
  type SessionManifests,
  type SessionSettings,
  specHash,
} from "./manifests.ts";
import { APP, APP_LABEL, SESSION_LABEL, SPEC_HASH_ANNOTATION } from "./names.ts";
import { judge } from "./readiness.ts";
import type { SessionRequest, StartRequest, StopRequest } from "./requests.ts";
import { DEFAULT_PORT, findTemplate, type TemplateTable } from "./template.ts";

/** What operations need to work. */
export interface OperationsOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  readonly settings: SessionSettings;
  readonly templates: TemplateTable;
  /** Longest time for a session to become ready, in milliseconds. */
  readonly startTimeoutMs: number;
  /** Told of each change of a session's state. */
  readonly onStatus: (status: SessionStatus) => void;
}

/** Longest time for a session's pods and volumes to go, in milliseconds. */
const STOP_TIMEOUT_MS = 120_000;

const VERBS: Readonly<Record<SessionRequest["action"], string>> = {
  start_session: "start",
  stop_session: "stop",
  hibernate_session: "hibernate",
  wake_session: "wake",
};

/** Carries out requests; those of one session must come one after the other. */
export class SessionOperations {
  readonly #client: SessionClient;
  readonly #cache: SessionCache;
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.#client = options.client;
    this.#cache = options.cache;
    this.#options = options;
  }

  /**
   * Carries out one request.
   *
   * @param signal cancels between two steps; its reason is what is thrown
   * @throws {CommandError} whose message is for the person who gave the command
   */
  async run(request: SessionRequest, signal: AbortSignal): Promise<CommandResult> {
    try {
      await this.#cache.synced(signal);
      switch (request.action) {
        case "start_session":
          return await this.#start(request, signal);
        case "stop_session":
          return await this.#stop(request, signal);
        case "hibernate_session":
          return await this.#hibernate(request.sessionId, signal);
        case "wake_session":
          return await this.#wake(request.sessionId, signal);
      }
    } catch (error) {
      const failure = error instanceof CommandError ? error.failure : "cluster";
      const sentence = `Cannot ${VERBS[request.action]} session "${request.sessionId}": ${messageOf(error)}`;
      throw new CommandError(failure, sentence, { cause: error });
    }
  }

  async #start(request: StartRequest, signal: AbortSignal): Promise<CommandResult> {
    const { sessionId } = request;
    const template = findTemplate(request.template, this.#options.templates);
    const { deployment } = this.#cache.session(sessionId);
    if (deployment && !deployment.metadata?.deletionTimestamp) {
      return await this.#startAgain(request, { deployment, signal });
    }

    const manifests = await buildManifests({ request, template, settings: this.#options.settings });
    this.#report(sessionId, "pending");
    try {
      await this.#createAll(manifests, { sessionId, signal });
      return await this.#awaitRunning(sessionId, signal);
    } catch (error) {
      await this.#rollBack(sessionId, { manifests, signal });
      throw error;
    }
  }

  /** The same start again is a success; another one under the same id is refused and changes nothing. */
  async #startAgain(
    request: StartRequest,
    { deployment, signal }: { deployment: V1Deployment; signal: AbortSignal },
  ): Promise<CommandResult> {
    if (deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION] !== await specHash(request)) {
      throw new CommandError("conflict", "it exists already, and was started with other settings");
    }
    if (deployment.spec?.replicas === 0) await this.#scale(request.sessionId, 1);
    return await this.#awaitRunning(request.sessionId, signal);
  }

  /** The claim comes before the Deployment, whose pod could not be scheduled without it; the Service waits for neither. */
  async #createAll(
    manifests: SessionManifests,
    options: { sessionId: string; signal: AbortSignal },
  ): Promise<void> {
    const { deployments, services, claims } = this.#client;
    const createClaimAndDeployment = async () => {
      if (manifests.claim) {
        this.#cache.put("claim", await this.#create(claims, { manifest: manifests.claim, ...options }));
        options.signal.throwIfAborted();
      }
      this.#cache.put(
        "deployment",
        await this.#create(deployments, { manifest: manifests.deployment, ...options }),
      );
    };
    const createService = async () => {
      this.#cache.put("service", await this.#create(services, { manifest: manifests.service, ...options }));
    };
    await allDone([createClaimAndDeployment(), createService()]);
  }

  /** Creates an object, or takes the session's own that exists already, such as the home of an earlier start. */
  async #create<T extends { metadata?: V1ObjectMeta }>(
    api: ObjectApi<T>,
    options: { manifest: T; sessionId: string; signal: AbortSignal },
  ): Promise<T> {
    const { manifest, sessionId, signal } = options;
    const name = manifest.metadata?.name ?? "";
    while (true) {
      try {
        return await api.create(manifest);
      } catch (error) {
        if (!(error instanceof KubernetesError && error.reason === "AlreadyExists")) throw error;
      }
      const existing = await api.read(name);
      if (existing && !belongsTo(existing, sessionId)) {
        throw new CommandError(
          "conflict",
          `"${name}" exists already in the cluster, and is not part of this session`,
        );
      }
      if (existing && !existing.metadata?.deletionTimestamp) return existing;
      const uid = existing?.metadata?.uid;
      if (uid === undefined) continue;
      await this.#waitUntil(sessionId, {
        signal,
        isDone: (objects) => !everything(objects).some((object) => object?.metadata?.uid === uid),
        timeoutMs: this.#options.startTimeoutMs,
        left: () => `"${name}" of an earlier session is still being deleted`,
      });
    }
  }

  /** A failed start leaves nothing behind but the home; one that a stop cancelled leaves that to the stop. */
  async #rollBack(
    sessionId: string,
    { manifests, signal }: { manifests: SessionManifests; signal: AbortSignal },
  ): Promise<void> {
    if (signal.aborted) return;
    const { deployment, service } = this.#cache.session(sessionId);
    const hash = manifests.deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION];
    const isOwn = !deployment || deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION] === hash;
    if (!isOwn) return;
    try {
      await allDone([
        deleteObject(this.#client.deployments, deployment),
        deleteObject(this.#client.services, service),
      ]);
    } catch (error) {
      log.error("What is left of session {sessionId} could not be removed: {reason}", {
        sessionId,
        reason: messageOf(error),
      });
    }
    this.#report(sessionId, "failed");
  }

  async #stop(request: StopRequest, signal: AbortSignal): Promise<CommandResult> {
    const { sessionId } = request;
    const { deployments, services, claims } = this.#client;
    const { deployment, service, claim } = this.#cache.session(sessionId);
    const doomed = { deployment, service, ...(request.deletePVC ? { persistentVolumeClaim: claim } : {}) };
    await allDone([
      deleteObject(deployments, deployment),
      deleteObject(services, service),
      ...(request.deletePVC ? [deleteObject(claims, claim)] : []),
    ]);
    const remaining = (objects: SessionObjects) =>
      [objects.deployment, objects.service, ...objects.pods, ...(request.deletePVC ? [objects.claim] : [])]
        .filter((one) => one);
    await this.#waitUntil(sessionId, {
      signal,
      isDone: (objects) => remaining(objects).length === 0,
      timeoutMs: STOP_TIMEOUT_MS,
      left: (objects) =>
        `${remaining(objects).map((one) => `"${one?.metadata?.name}"`).join(", ")} is still being deleted`,
    });
    // Said even when there was nothing: the Control Plane ends a session only on this.
    this.#report(sessionId, "terminated");
    const deleted = Object.entries(doomed).filter(([, object]) =>
      object && !object.metadata?.deletionTimestamp
    ).map(([kind, object]) => `${kind}/${object?.metadata?.name}`);
    return { sessionId, state: "terminated", deleted };
  }

  async #hibernate(sessionId: string, signal: AbortSignal): Promise<CommandResult> {
    const deployment = this.#existing(sessionId);
    if (deployment.spec?.replicas !== 0) await this.#scale(sessionId, 0);
    await this.#waitUntil(sessionId, {
      signal,
      isDone: (objects) => isHibernated(objects),
      timeoutMs: STOP_TIMEOUT_MS,
      left: ({ pods }) => `pod ${pods.map((pod) => `"${pod.metadata?.name}"`).join(", ")} is still there`,
    });
    this.#report(sessionId, "hibernated");
    return { ...this.#objectNames(sessionId), state: "hibernated" };
  }

  async #wake(sessionId: string, signal: AbortSignal): Promise<CommandResult> {
    const deployment = this.#existing(sessionId);
    if (deployment.spec?.replicas !== 0) return await this.#awaitRunning(sessionId, signal);
    this.#report(sessionId, "pending");
    try {
      await this.#scale(sessionId, 1);
      return await this.#awaitRunning(sessionId, signal);
    } catch (error) {
      if (!signal.aborted) await this.#fallAsleepAgain(sessionId);
      throw error;
    }
  }

  async #fallAsleepAgain(sessionId: string): Promise<void> {
    try {
      await this.#scale(sessionId, 0);
      this.#report(sessionId, "hibernated");
    } catch (error) {
      log.error("Session {sessionId} could not be put to sleep again: {reason}", {
        sessionId,
        reason: messageOf(error),
      });
    }
  }

  async #scale(sessionId: string, replicas: 0 | 1): Promise<void> {
    this.#cache.put(
      "deployment",
      await this.#client.scale(this.#existing(sessionId).metadata?.name ?? sessionId, replicas),
    );
  }

  #existing(sessionId: string): V1Deployment {
    const { deployment } = this.#cache.session(sessionId);
    if (!deployment || deployment.metadata?.deletionTimestamp) {
      throw new CommandError("not_found", "it does not exist");
    }
    return deployment;
  }

  async #awaitRunning(sessionId: string, signal: AbortSignal): Promise<CommandResult> {
    const pod = await this.#waitUntilReady(sessionId, signal);
    // A stop that came in this moment has the last word.
    signal.throwIfAborted();
    this.#report(sessionId, "running", pod);
    return {
      ...this.#objectNames(sessionId),
      ...podFields(pod),
      vncPort: displayPort(pod),
      state: "running",
    };
  }

  async #waitUntilReady(sessionId: string, signal: AbortSignal): Promise<V1Pod> {
    const { startTimeoutMs } = this.#options;
    const deadline = performance.now() + startTimeoutMs;
    let troubleSince: number | undefined;
    return await this.#cache.waitFor<V1Pod>(sessionId, {
      signal,
      look: (objects) => {
        const verdict = judge(objects);
        if (verdict.state === "ready") return { answer: verdict.pod };
        const now = performance.now();
        troubleSince = verdict.state === "trouble" ? troubleSince ?? now : undefined;
        const graceLeft = verdict.state === "trouble"
          ? (troubleSince ?? now) + verdict.graceMs - now
          : Infinity;
        if (graceLeft <= 0) throw new CommandError("start_failed", verdict.reason);
        if (now >= deadline) {
          const limit = `it was not ready within ${formatDuration(startTimeoutMs)}`;
          throw new CommandError(
            "timeout",
            `${limit}: ${verdict.state === "waiting" ? "it waits for " : ""}${verdict.reason}`,
          );
        }
        return { lookAgainInMs: Math.ceil(Math.min(deadline - now, graceLeft)) };
      },
    });
  }

  async #waitUntil(
    sessionId: string,
    options: {
      signal: AbortSignal;
      isDone: (objects: SessionObjects) => boolean;
      timeoutMs: number;
      left: (objects: SessionObjects) => string;
    },
  ): Promise<void> {
    const { signal, isDone, timeoutMs, left } = options;
    const deadline = performance.now() + timeoutMs;
    await this.#cache.waitFor(sessionId, {
      signal,
      look: (objects) => {
        if (isDone(objects)) return { answer: undefined };
        const remainingMs = deadline - performance.now();
        if (remainingMs <= 0) {
          throw new CommandError("timeout", `after ${formatDuration(timeoutMs)}, ${left(objects)}`);
        }
        return { lookAgainInMs: Math.ceil(remainingMs) };
      },
    });
  }

  #objectNames(sessionId: string): CommandResult {
    const { deployment, service, claim } = this.#cache.session(sessionId);
    return {
      sessionId,
      deployment: deployment?.metadata?.name,
      service: service?.metadata?.name,
      ...(claim ? { pvc: claim.metadata?.name } : {}),
    };
  }

  /** Tells the whole record: what a status leaves out, the Control Plane forgets. */
  #report(sessionId: string, state: SessionState, pod?: V1Pod): void {
    this.#options.onStatus({
      sessionId,
      state,
      vncReady: state === "running",
      vncPort: pod ? displayPort(pod) : DEFAULT_PORT,
      platformMetadata: pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" },
    });
  }
}

/** Waits for all to end before it throws the first error: nothing is still being created while a failure is cleaned up. */
async function allDone(tasks: readonly Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(tasks);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
}

async function deleteObject<T extends { metadata?: V1ObjectMeta }>(
  api: ObjectApi<T>,
  object: T | undefined,
): Promise<void> {
  const { name, uid, deletionTimestamp } = object?.metadata ?? {};
  if (name && uid && !deletionTimestamp) await api.delete(name, uid);
}

function everything(objects: SessionObjects): Array<{ metadata?: V1ObjectMeta } | undefined> {
  return [objects.deployment, objects.service, objects.claim, ...objects.pods];
}

function belongsTo(object: { metadata?: V1ObjectMeta }, sessionId: string): boolean {
  const labels = object.metadata?.labels ?? {};
  return labels[APP_LABEL] === APP && labels[SESSION_LABEL] === sessionId;
}

/** The Deployment's controller has seen that no pod is wanted, and no pod is left, so that a volume is free to move. */
function isHibernated({ deployment, pods }: SessionObjects): boolean {
  if (!deployment) throw new CommandError("not_found", "it was deleted meanwhile");
  const { generation = 0 } = deployment.metadata ?? {};
  const { observedGeneration = 0, replicas = 0 } = deployment.status ?? {};
  return observedGeneration >= generation && replicas === 0 && pods.length === 0;
}

function podFields(pod: V1Pod): { podName: string; podIP: string; nodeName: string } {
  return {
    podName: pod.metadata?.name ?? "",
    podIP: pod.status?.podIP ?? "",
    nodeName: pod.spec?.nodeName ?? "",
  };
}

function displayPort(pod: V1Pod): number {
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.find((port) => port.name === DISPLAY_PORT)?.containerPort ?? DEFAULT_PORT;
}
