/**
 * Creates many sessions in the cluster without an agent: their objects as an agent would have left them, 90 % of them hibernated.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { buildManifests, type SessionManifests } from "../../lib/manifests/manifests.ts";
import { homeClaimName, RUNNING_SINCE_ANNOTATION } from "../../lib/model/names.ts";
import { imageTemplate } from "../../lib/model/template.ts";
import { statusAnnotation } from "../../lib/status/annotations.ts";
import { statusOf } from "../../lib/status/status.ts";
import { SETTINGS } from "../session_settings.ts";

/** Where to create the sessions. */
export interface Target {
  readonly server: string;
  readonly client: Deno.HttpClient;
  readonly namespace: string;
  readonly agentId: string;
}

const CONCURRENCY = 24;
const RUNNING_SHARE = 0.1;
const POLL_MS = 1000;

/** Creates sessions and waits until the pods of the running ones are ready; returns how many are running. */
export async function createSessions(target: Target, count: number): Promise<number> {
  const running = Math.round(count * RUNNING_SHARE);
  const indexes = Array.from({ length: count }, (_, index) => index);
  await inParallel(indexes, (index) => create(target, { id: idOf(index), isRunning: index < running }));
  const pods = await readyPods(target, running);
  await inParallel(pods, (pod) => recordStatus(target, pod));
  const sessions = indexes.map(idOf).toSorted().join("\n");
  await request(target, "POST", {
    path: "/api/v1/configmaps",
    body: { metadata: { name: "k8s-agent-journal" }, data: { [`${target.agentId}.sessions`]: sessions } },
  });
  return running;
}

/** The objects of a session with a home volume. */
export function manifestsOf(
  { namespace, agentId }: Pick<Target, "namespace" | "agentId">,
  sessionId: string,
): SessionManifests {
  const resources = { memory: "256Mi", cpu: "100m" };
  return buildManifests({
    commandId: `start-${sessionId}`,
    startedAt: new Date(),
    request: {
      action: "start_session",
      sessionId,
      user: `user-of-${sessionId}`,
      template: "firefox",
      persistentHome: true,
      ...resources,
    },
    template: { ...imageTemplate("lscr.io/linuxserver/firefox:latest"), defaultResources: resources },
    settings: { ...SETTINGS, namespace, agentId },
    homeVolume: {
      claimName: homeClaimName(sessionId),
      owner: "session",
      storageClass: "",
      size: "1Gi",
      accessMode: "ReadWriteOnce",
    },
  });
}

/** Calls the API server. */
export async function request(
  { server, client, namespace }: Pick<Target, "server" | "client" | "namespace">,
  method: "GET" | "POST" | "PATCH" | "DELETE",
  { path, body }: { path: string; body?: unknown },
): Promise<unknown> {
  const url = `${server}${path.replace(/^(\/api\/v1|\/apis\/[^/]+\/v1)/, `$1/namespaces/${namespace}`)}`;
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const response = await fetch(url, {
    method,
    client,
    headers: { "Content-Type": type },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
  return JSON.parse(text);
}

function idOf(index: number): string {
  return `existing-session-${String(index).padStart(5, "0")}`;
}

async function create(target: Target, { id, isRunning }: { id: string; isRunning: boolean }): Promise<void> {
  const { claim, deployment, service } = manifestsOf(target, id);
  const hibernated = {
    ...deployment,
    metadata: {
      ...deployment.metadata,
      annotations: { ...deployment.metadata?.annotations, [RUNNING_SINCE_ANNOTATION]: undefined },
    },
    spec: { ...deployment.spec, replicas: 0 },
  };
  const status = statusAnnotation(statusOf(id, "hibernated", { deployment }));
  const annotations = { ...service.metadata?.annotations, ...status };
  await request(target, "POST", { path: "/api/v1/persistentvolumeclaims", body: claim });
  await request(target, "POST", {
    path: "/apis/apps/v1/deployments",
    body: isRunning ? deployment : hibernated,
  });
  await request(target, "POST", {
    path: "/api/v1/services",
    body: { ...service, metadata: { ...service.metadata, annotations } },
  });
}

/** Waits until so many pods are ready, and returns these. */
export async function readyPods(target: Target, count: number): Promise<V1Pod[]> {
  while (true) {
    const { items } = await request(target, "GET", { path: "/api/v1/pods" }) as { items: V1Pod[] };
    const isReady = ({ status }: V1Pod) =>
      status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
    const ready = items.filter(isReady);
    if (ready.length >= count) return ready;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function recordStatus(target: Target, pod: V1Pod): Promise<void> {
  const id = pod.metadata?.labels?.session ?? "";
  const annotations = statusAnnotation(statusOf(id, "running", { pod }));
  await request(target, "PATCH", { path: `/api/v1/services/${id}`, body: { metadata: { annotations } } });
}

/** Runs work for all items, for several at a time. */
export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const workUntilDone = async () => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await work(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, workUntilDone));
}
