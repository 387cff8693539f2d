/**
 * A list+watch of one collection that never gives up: what is in the cluster comes out as a full list, then as changes.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { abortable, delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { asRecord } from "../common/json.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";
import type { Transport } from "./transport.ts";

/** One collection to watch, and who is told. */
export interface WatchOptions<T extends KubernetesObject> {
  /** Path of the collection, such as `/api/v1/namespaces/streamspace/pods`. */
  readonly path: string;
  /** Which objects of it, by label or by field, as the API's query parameters take it; absent: all. */
  readonly selector?: { readonly labelSelector: string } | { readonly fieldSelector: string };
  /** How often a trouble that stays the same is told again, in milliseconds. @default {60_000} */
  readonly reminderMs?: number;
  /** Told at first, and again whenever the watch had to start over; with the version at which the list was true. */
  readonly onList: (objects: readonly T[], version: string) => void;
  readonly onChange: (change: "put" | "remove", object: T) => void;
  /** Whether a refusal ends the watch; none does, unless this says so. */
  readonly isPermanent?: (error: KubernetesError) => boolean;
  readonly observer?: WatchObserver | undefined;
}

/** Told how a watch goes. */
export interface WatchObserver {
  /** It is open, or something was heard: what is known is true. */
  heard(resource: string): void;
  /** It did not end in peace; what is known may be old until it is heard of again. */
  broke(resource: string, reason: "failed" | "expired"): void;
}

/** The server ends each watch after this time, in seconds; a new one goes on from there at once. */
const WATCH_SECONDS = 30;
/** Longer than a watch lasts: by then the connection is dead. */
const SILENCE_MS = 40_000;
/** A watch that lasted so long has ended in peace. */
const STEADY_MS = 1000;
const REMINDER_MS = 60_000;

/** The server no longer has the changes since the version that a watch asked for; it says so in an answer or in an event. */
const EXPIRED = 410;

/**
 * Lists and watches until the signal is aborted.
 *
 * @throws {KubernetesError} a refusal that is final for the caller
 */
export async function watch<T extends KubernetesObject>(
  transport: Transport,
  options: WatchOptions<T> & { readonly signal: AbortSignal },
): Promise<void> {
  const { signal } = options;
  let version: string | undefined;
  const resource = options.path.split("/").at(-1) ?? "";
  const failures = new RepeatFilter({ reminderMs: options.reminderMs ?? REMINDER_MS });
  const backoff = new Backoff();
  const heard = () => options.observer?.heard(resource);
  const onOpen = () => {
    if (failures.reset()) log.info("Watching {resource} again", { resource });
    heard();
  };
  while (!signal.aborted) {
    let askedForMs = 0;
    const startedAt = performance.now();
    try {
      version ??= await list(transport, options);
      for await (const event of events<T>(transport, { ...options, version, onOpen })) {
        version = event.version;
        heard();
        if (event.type !== "bookmark") options.onChange(event.type, event.object);
        backoff.reset();
      }
      if (performance.now() - startedAt >= STEADY_MS) {
        backoff.reset();
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof KubernetesError && options.isPermanent?.(error)) throw error;
      const hasExpired = hasStatus(error, EXPIRED);
      options.observer?.broke(resource, hasExpired ? "expired" : "failed");
      // Whether the server still has the changes since the last version, only it can say.
      if (hasExpired) version = undefined;
      else if (failures.isNew(messageOf(error))) {
        log.warn("Cannot watch {resource}, trying again: {reason}", { resource, reason: messageOf(error) });
      }
      if (error instanceof KubernetesError) askedForMs = error.retryAfterMs;
    }
    await delay(backoff.next(askedForMs), { signal }).catch(() => {});
  }
}

type WatchEvent<T> =
  | { readonly type: "put" | "remove"; readonly object: T; readonly version: string }
  | { readonly type: "bookmark"; readonly version: string };

/**
 * Lists once; gives the version at which the list was true.
 *
 * @throws {KubernetesError} when it is refused or not answered
 */
export async function list<T extends KubernetesObject>(
  transport: Transport,
  options: Pick<WatchOptions<T>, "path" | "selector" | "onList"> & { readonly signal: AbortSignal },
): Promise<string> {
  const query = new URLSearchParams(options.selector);
  const answer = asRecord(await abortable(transport.getJson(`${options.path}?${query}`), options.signal));
  const version = asRecord(answer?.metadata)?.resourceVersion;
  if (!Array.isArray(answer?.items) || typeof version !== "string") {
    throw new TypeError("The answer is not a list");
  }
  options.onList(answer.items as T[], version);
  return version;
}

/** The changes since a version, until the server ends the watch. */
async function* events<T extends KubernetesObject>(
  transport: Transport,
  options: Pick<WatchOptions<T>, "path" | "selector"> & {
    version: string;
    signal: AbortSignal;
    onOpen: () => void;
  },
): AsyncGenerator<WatchEvent<T>> {
  const query = new URLSearchParams({
    watch: "true",
    allowWatchBookmarks: "true",
    timeoutSeconds: String(WATCH_SECONDS),
    ...options.selector,
    resourceVersion: options.version,
  });
  const startedAt = performance.now();
  using silence = new Silence(options.signal, () => transport.renew(startedAt));
  const body = await transport.stream(`${options.path}?${query}`, silence.signal);
  options.onOpen();
  for await (const line of lines(body, silence)) yield parseEvent<T>(line);
}

/** Aborts its signal when nothing was heard for too long, or when the outer one is aborted. */
class Silence implements Disposable {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #onSilence: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(outer: AbortSignal, onSilence: () => void) {
    this.#onSilence = onSilence;
    this.signal = AbortSignal.any([outer, this.#controller.signal]);
    this.broken();
  }

  /** Something was heard. */
  broken(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#onSilence();
      this.#controller.abort(new Error(`nothing was heard for ${SILENCE_MS / 1000} seconds`));
    }, SILENCE_MS);
  }

  /** Also ends the request, so that no stream outlives the loop that reads it. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#controller.abort(new DOMException("The watch is over", "AbortError"));
  }
}

async function* lines(body: ReadableStream<Uint8Array>, silence: Silence): AsyncGenerator<string> {
  silence.signal.throwIfAborted();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // A fetch whose signal is aborted does not always end the body that is being read: cancelling it does.
  const cancel = () => void reader.cancel().catch(() => {});
  silence.signal.addEventListener("abort", cancel, { once: true });
  let rest = "";
  while (true) {
    const { done, value } = await reader.read();
    silence.signal.throwIfAborted();
    if (done) return;
    silence.broken();
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

function parseEvent<T extends KubernetesObject>(line: string): WatchEvent<T> {
  const event = asRecord(JSON.parse(line));
  const object = asRecord(event?.object);
  const version = asRecord(object?.metadata)?.resourceVersion;
  if (event?.type === "ERROR") {
    const { code, message = "The server ended the watch with an error" } = object ?? {};
    throw new KubernetesError(String(message), { status: Number(code ?? 0), reason: "" });
  }
  if (typeof version !== "string") throw new TypeError("The server sent an event without a resource version");
  switch (event?.type) {
    case "ADDED":
    case "MODIFIED":
      return { type: "put", object: object as unknown as T, version };
    case "DELETED":
      return { type: "remove", object: object as unknown as T, version };
    default:
      return { type: "bookmark", version };
  }
}
