/**
 * Session objects in a cluster that exists only in a test: written by the API of custom objects, seen by list and watch.
 * @module
 */
import { delay } from "@std/async";
import { KubernetesError } from "../../lib/common/errors.ts";
import type { CustomObjectApi } from "../../lib/kubernetes/client.ts";
import type { PatchOperation } from "../../lib/kubernetes/collection.ts";
import type { Transport } from "../../lib/kubernetes/transport.ts";
import type { CustomObject } from "./custom_kinds.ts";
import { endOfList, watchLine } from "./list_watch_server.ts";

type Draft = Record<string, unknown> & { metadata: Record<string, unknown> };

/** Keeps objects by name. */
export class FakeCustomApi implements CustomObjectApi {
  /** Whether the cluster has the kind. */
  isInstalled = true;
  /** What was asked for, such as `create s1`. */
  readonly requests: string[] = [];
  /** Fields that the schema of the kind has; the API drops all others. By default, it keeps all. */
  schema: { readonly spec: readonly string[]; readonly status: readonly string[] } | undefined;
  /** Waited for before a request is answered. */
  gate: Promise<void> = Promise.resolve();
  /** How many requests are at work. */
  active = 0;
  readonly #objects = new Map<string, CustomObject>();
  readonly #errors: KubernetesError[] = [];
  readonly #watches = new Set<ReadableStreamDefaultController<Uint8Array>>();
  #version = 100;

  /** This, as those see it that use a transport. */
  get transport(): Transport {
    return this as unknown as Transport;
  }

  get(name: string): CustomObject | undefined {
    return this.#objects.get(name);
  }

  /** Refuses the next request; 0 stands for no answer. */
  refuse(status: number, message = "refused"): void {
    this.#errors.push(new KubernetesError(message, { status, reason: "" }));
  }

  create(object: object): Promise<CustomObject> {
    const { metadata, ...rest } = structuredClone(object) as unknown as Draft;
    const name = String(metadata.name);
    return this.#answer(`create ${name}`, () => {
      if (this.#objects.has(name)) throw new KubernetesError("exists", { status: 409, reason: "" });
      return this.put({ ...rest, metadata: { ...metadata, uid: `uid-${this.#version}`, generation: 1 } });
    });
  }

  patch(name: string, operations: readonly PatchOperation[]): Promise<CustomObject> {
    return this.#answer(`patch ${name}`, () => {
      const { metadata, ...rest } = this.#patched(name, operations);
      const isSpec = operations.some(({ op, path }) => op === "add" && path.startsWith("/spec"));
      return this.put({
        ...rest,
        metadata: { ...metadata, generation: Number(metadata.generation) + (isSpec ? 1 : 0) },
      });
    });
  }

  patchStatus(name: string, operations: readonly PatchOperation[]): Promise<CustomObject> {
    return this.#answer(`patch status of ${name}`, () => this.put(this.#patched(name, operations)));
  }

  /** Takes an object as it is, as of anybody. */
  put(draft: Draft): CustomObject {
    const resourceVersion = String(++this.#version);
    const object = {
      ...this.#pruned(draft),
      metadata: { ...draft.metadata, resourceVersion },
    } as unknown as CustomObject;
    this.#objects.set(String(draft.metadata.name), object);
    this.#emit("MODIFIED", object);
    return object;
  }

  /** Removes an object, as anybody may. */
  remove(name: string): void {
    const object = this.#objects.get(name);
    this.#objects.delete(name);
    if (object) {
      this.#emit("DELETED", {
        ...object,
        metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
      } as CustomObject);
    }
  }

  getJson(path: string): Promise<unknown> {
    if (!this.isInstalled) return Promise.reject(new KubernetesError("none", { status: 404, reason: "" }));
    if (path.includes("/sessions")) throw new Error("Lists are streamed");
    return Promise.resolve({ resources: [{ name: "sessions" }] });
  }

  stream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        if (path.includes("sendInitialEvents")) controller.enqueue(this.#initialEvents());
        this.#watches.add(controller);
        signal.addEventListener("abort", () => this.#watches.delete(controller), { once: true });
      },
    });
    return Promise.resolve(body);
  }

  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    await delay(ms, { signal });
    return false;
  }

  renew(): void {}

  async #answer(request: string, act: () => CustomObject): Promise<CustomObject> {
    this.requests.push(request);
    this.active += 1;
    await this.gate;
    this.active -= 1;
    const error = this.#errors.shift();
    if (error) throw error;
    return act();
  }

  #patched(name: string, operations: readonly PatchOperation[]): Draft {
    const draft = structuredClone(this.#objects.get(name)) as unknown as Draft | undefined;
    if (!draft) throw new KubernetesError("not found", { status: 404, reason: "" });
    for (const { op, path, value } of operations) {
      const keys = path.slice(1).split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
      const key = keys.pop() ?? "";
      const holder = keys.reduce((one, key) => one[key] as Draft, draft as Record<string, unknown>);
      if (op === "add") holder[key] = structuredClone(value);
      else if (holder[key] !== value) throw new KubernetesError("test failed", { status: 422, reason: "" });
    }
    return draft;
  }

  #pruned(draft: Draft): Record<string, unknown> {
    const { schema } = this;
    const keep = (part: "spec" | "status") =>
      Object.fromEntries(
        Object.entries(draft[part] ?? {}).filter(([key]) => schema?.[part].includes(key) ?? true),
      );
    return { ...draft, spec: keep("spec"), ...(draft.status ? { status: keep("status") } : {}) };
  }

  #initialEvents(): Uint8Array {
    const lines = [...this.#objects.values()].map((object) => watchLine("ADDED", object));
    return new TextEncoder().encode([...lines, endOfList(String(this.#version))].join(""));
  }

  #emit(type: string, object: CustomObject): void {
    for (const watch of this.#watches) watch.enqueue(new TextEncoder().encode(watchLine(type, object)));
  }
}
