/**
 * Clients for the tests of the in-memory cluster: client-node's typed clients, and plain requests.
 * @module
 */
import { AppsV1Api, CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import type { Cluster } from "@streamspace/memory-cluster";

/** Typed clients of a cluster. */
export function typedClients(cluster: Cluster): { apps: AppsV1Api; core: CoreV1Api } {
  const config = new KubeConfig();
  config.loadFromString(cluster.kubeconfig());
  return { apps: config.makeApiClient(AppsV1Api), core: config.makeApiClient(CoreV1Api) };
}

/** A response of the API, of which tests compare any field. */
// deno-lint-ignore no-explicit-any
export type Answer = Record<string, any>;

/** Options of a plain request. */
export interface CallOptions {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** Sends a plain request and returns the JSON response. */
export async function call(cluster: Cluster, path: string, options: CallOptions = {}): Promise<Answer> {
  const { method = options.body === undefined ? "GET" : "POST", body, headers } = options;
  const response = await fetch(cluster.url + path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return await response.json();
}

/** Events of a watch; leaving the loop closes it. */
export async function* watch(cluster: Cluster, path: string): AsyncGenerator<Answer> {
  const query = path.includes("?") ? "&watch=1" : "?watch=1";
  const aborter = new AbortController();
  const response = await fetch(cluster.url + path + query, { signal: aborter.signal });
  try {
    let rest = "";
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield JSON.parse(line);
    }
  } finally {
    aborter.abort();
  }
}

/** First event of a watch that matches. */
export async function waitFor(
  cluster: Cluster,
  path: string,
  isWanted: (event: Answer) => boolean,
): Promise<Answer> {
  for await (const event of watch(cluster, path)) {
    if (isWanted(event)) return event;
  }
  throw new Error(`The watch of ${path} ended before what it waited for`);
}

/** A Deployment with one container. */
export function deployment(name: string, image = "desk:1", spec: Answer = {}): Answer {
  const labels = { app: name };
  const template = { metadata: { labels }, spec: { containers: [{ name: "desk", image }] } };
  return { metadata: { name, labels }, spec: { selector: { matchLabels: labels }, template, ...spec } };
}

/** A claim of 1 GiB. */
export function claim(name: string, storageClassName?: string): Answer {
  const resources = { requests: { storage: "1Gi" } };
  return { metadata: { name }, spec: { accessModes: ["ReadWriteOnce"], resources, storageClassName } };
}
