/**
 * The clients that the tests of the in-memory cluster use: client-node's typed ones, and bare requests.
 * @module
 */
import { AppsV1Api, CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import type { Cluster } from "@streamspace/memory-cluster";

/** client-node's typed clients of a cluster. */
export function typedClients(cluster: Cluster): { apps: AppsV1Api; core: CoreV1Api } {
  const config = new KubeConfig();
  config.loadFromString(cluster.kubeconfig());
  return { apps: config.makeApiClient(AppsV1Api), core: config.makeApiClient(CoreV1Api) };
}

/** An answer of the API: any field may be read, and compared. */
// deno-lint-ignore no-explicit-any
export type Answer = Record<string, any>;

/** How to send a bare request. */
export interface CallOptions {
  readonly method?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** Sends a bare request and reads the JSON that comes back. */
export async function call(cluster: Cluster, path: string, options: CallOptions = {}): Promise<Answer> {
  const { method = options.body === undefined ? "GET" : "POST", body, headers } = options;
  const response = await fetch(cluster.url + path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return await response.json();
}

/** The events of a watch; leaving the loop closes it. */
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

/** The first event of a watch that is as wanted. */
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

/** A deployment of one container. */
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
