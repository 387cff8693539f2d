/**
 * A watch of the pods that records when each session became ready and unready, as any client of the API server sees it at the earliest.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { currentPod, isReady } from "../../lib/status/readiness.ts";
import { request, type Target } from "./existing_sessions.ts";

/** A session became ready or unready. */
export interface Transition {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly isReady: boolean;
  /** Name of the ready pod. */
  readonly podName: string | undefined;
}

const RECONNECT_MS = 50;

/** Records transitions until it is disposed; it reconnects when the API server ends the watch. */
export class ReadinessLog implements AsyncDisposable {
  readonly #target: Target;
  readonly #pods = new Map<string, Map<string, V1Pod>>();
  readonly #transitions = new Map<string, Transition[]>();
  readonly #closing = new AbortController();
  #following: Promise<void> = Promise.resolve();

  private constructor(target: Target) {
    this.#target = target;
  }

  /** Lists the pods and opens the watch. */
  static async open(target: Target): Promise<ReadinessLog> {
    const log = new ReadinessLog(target);
    log.#following = log.#follow(await log.#list());
    return log;
  }

  /** The transitions of a session since a time, in order. */
  since(sessionId: string, at: number): Transition[] {
    return (this.#transitions.get(sessionId) ?? []).filter((transition) => transition.at >= at);
  }

  /** The name of the session's ready pod. */
  readyPod(sessionId: string): string | undefined {
    return this.#transitions.get(sessionId)?.at(-1)?.podName;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#following;
  }

  async #follow(from: string): Promise<void> {
    const { signal } = this.#closing;
    let version = from;
    while (!signal.aborted) {
      try {
        version = await this.#watch(version) ?? await this.#list();
      } catch {
        // The API server restarts, or this log is closed.
      }
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
    }
  }

  /** Records the current state; returns its resource version. */
  async #list(): Promise<string> {
    const { items, metadata } = await request(this.#target, "GET", { path: "/api/v1/pods" }) as {
      items: V1Pod[];
      metadata: { resourceVersion: string };
    };
    for (const pod of items) this.#observe("ADDED", pod);
    return metadata.resourceVersion;
  }

  /** Reads a watch to its end; returns the resource version of its last event, or `undefined` if it cannot continue from there. */
  async #watch(from: string): Promise<string | undefined> {
    const { server, client, namespace } = this.#target;
    const query = new URLSearchParams({ watch: "true", resourceVersion: from });
    const url = `${server}/api/v1/namespaces/${namespace}/pods?${query}`;
    const { body } = await fetch(url, { client, signal: this.#closing.signal });
    if (!body) throw new Error("The watch has no body");
    let version = from;
    let rest = "";
    try {
      for await (const text of body.pipeThrough(new TextDecoderStream())) {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const { type, object } = JSON.parse(line) as { type: string; object: V1Pod };
          if (type === "ERROR") return undefined; // A restarted API server has no earlier changes.
          version = object.metadata?.resourceVersion ?? version;
          this.#observe(type, object);
        }
      }
    } catch {
      // A broken watch continues after its last event.
    }
    return version;
  }

  #observe(type: string, pod: V1Pod): void {
    const sessionId = pod.metadata?.labels?.session ?? "";
    const name = pod.metadata?.name ?? "";
    const pods = this.#pods.get(sessionId) ?? new Map<string, V1Pod>();
    this.#pods.set(sessionId, pods);
    if (type === "DELETED") pods.delete(name);
    else pods.set(name, pod);
    const current = currentPod([...pods.values()]);
    const podName = current && isReady(current) ? current.metadata?.name : undefined;
    const transitions = this.#transitions.get(sessionId) ?? [];
    this.#transitions.set(sessionId, transitions);
    if (transitions.at(-1)?.podName === podName && transitions.length > 0) return;
    transitions.push({ at: Date.now(), isReady: podName !== undefined, podName });
  }
}
