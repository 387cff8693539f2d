/**
 * List and watch of one collection, with resync and retries without limit: it delivers the full list, then every change. The list is streamed as
 * the first events of the watch; servers without this feature are asked for it in pages.
 * Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes,
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { Backoff } from "../common/backoff.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { Turns } from "../common/event_loop.ts";
import { asRecord } from "../common/json.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import { listAll } from "./collection.ts";
import { nameOf } from "./objects.ts";
import type { Transport } from "./transport.ts";

/** A collection to list. */
export interface ListOptions<T extends KubernetesObject> {
  /** Path of the collection, such as `/api/v1/namespaces/streamspace/pods`. */
  readonly path: string;
  /** Label or field selector, as query parameters of the API. @default all objects */
  readonly selector?: { readonly labelSelector: string } | { readonly fieldSelector: string };
  /** Returns what is kept of an object; it is called as soon as an object is parsed. @default the whole object */
  readonly reduce?: (object: T) => T;
  /** Called with the full list: at first, and each time the watch has to start over. */
  readonly onList: (objects: readonly T[], resourceVersion: string) => void;
  readonly signal: AbortSignal;
}

/** Durations of a watch. */
export type WatchTimings = Pick<
  Timings,
  "requestTimeoutMs" | "watchLifetimeMs" | "watchSilenceMs" | "watchRetryMs" | "maxWatchRetryMs"
>;

/** A collection to list and watch. */
export interface WatchOptions<T extends KubernetesObject> extends ListOptions<T> {
  readonly onChange: (change: "put" | "remove", object: T) => void;
  /** Called with the error when the server forbids the list or the watch, and with `undefined` when it no longer does. */
  readonly onForbidden?: (error: KubernetesError | undefined) => void;
  /** Whether an error ends the watch instead of being retried. @default no error does */
  readonly isPermanent?: (error: KubernetesError) => boolean;
  /** Time after which a failure that persists is logged again, in milliseconds. @default {60_000} */
  readonly reminderMs?: number;
  readonly observer?: WatchObserver | undefined;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: WatchTimings | undefined;
}

/** Callbacks about the health of watches. */
export interface WatchObserver {
  /** The watch was opened or delivered an event: the cached objects are current. */
  onWatchEvent(resource: string): void;
  /** The watch failed, or its resource version expired: the cached objects may be outdated until the next event. */
  onWatchError(resource: string, reason: "failed" | "expired"): void;
}

/** A watch that ends without an error before this time is reopened only after a pause. */
const STABLE_MS = 1000;
const REMINDER_MS = 60_000;

/** HTTP status, or code of an ERROR event: the server no longer has the changes since the requested resource version. */
const GONE = 410;
const FORBIDDEN = 403;
/** HTTP statuses of a server that cannot stream lists: the parameters are invalid. */
const INVALID = [400, 422];
/** Annotation of the bookmark that follows the last object of a streamed list. */
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/**
 * Lists and watches until the signal is aborted.
 *
 * @throws {KubernetesError} only when `isPermanent` returns true for it
 */
export async function watch<T extends KubernetesObject>(
  transport: Transport,
  options: WatchOptions<T>,
): Promise<void> {
  await new Watch(transport, options).run();
}

/**
 * Lists a collection once.
 *
 * @returns the resource version of the list
 * @throws {KubernetesError} when the list is refused or gets no response
 */
export async function list<T extends KubernetesObject>(
  transport: Transport,
  { path, selector, reduce, onList, signal }: ListOptions<T>,
): Promise<string> {
  const { objects, version } = await listAll<T>(transport, path, { query: selector, reduce, signal });
  onList(objects, version);
  return version;
}

/** State of one running watch. */
class Watch<T extends KubernetesObject> {
  readonly #transport: Transport;
  readonly #options: WatchOptions<T>;
  readonly #timings: WatchTimings;
  readonly #resource: string;
  readonly #failures: RepeatFilter;
  readonly #backoff: Backoff;
  /** Resource version to continue from; `undefined` if a new list is needed. */
  #version: string | undefined;
  /** Whether the next list is streamed: after a streamed list that failed, the next one is in pages. */
  #streamsList = true;

  constructor(transport: Transport, options: WatchOptions<T>) {
    this.#transport = transport;
    this.#options = options;
    this.#timings = options.timings ?? DEFAULT_TIMINGS;
    this.#resource = options.path.split("/").at(-1) ?? "";
    this.#failures = new RepeatFilter({ reminderMs: options.reminderMs ?? REMINDER_MS });
    const { watchRetryMs: firstMs, maxWatchRetryMs: longestMs } = this.#timings;
    this.#backoff = new Backoff({ firstMs, longestMs });
  }

  async run(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      let pauseMs: number;
      const startedAt = performance.now();
      try {
        await this.#listAndWatch();
        if (performance.now() - startedAt >= STABLE_MS) {
          this.#backoff.reset();
          continue;
        }
        pauseMs = this.#backoff.next();
      } catch (error) {
        if (signal.aborted) return;
        pauseMs = this.#onError(error);
      }
      const hasReturned = await this.#transport.pause(pauseMs, signal).catch(() => false);
      if (hasReturned) this.#backoff.reset();
    }
  }

  /** Delivers the list, if it is needed, and every change until the server ends the watch. */
  async #listAndWatch(): Promise<void> {
    if (this.#version === undefined && this.#streamsList) {
      this.#streamsList = false;
      try {
        return await this.#watchFrom(undefined);
      } catch (error) {
        if (!hasStatus(error, ...INVALID)) throw error;
      }
    }
    this.#streamsList = true;
    this.#version ??= await list(this.#transport, this.#options);
    await this.#watchFrom(this.#version);
  }

  /** Delivers the changes since a version, or a streamed list and the changes since, until the server ends the watch. */
  async #watchFrom(version: string | undefined): Promise<void> {
    const { path, selector, reduce = (object) => object, onForbidden, signal } = this.#options;
    const { requestTimeoutMs, watchLifetimeMs, watchSilenceMs } = this.#timings;
    const query = new URLSearchParams({
      watch: "true",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(Math.ceil(watchLifetimeMs / 1000)),
      ...selector,
      ...(version === undefined
        ? { sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" }
        : { resourceVersion: version }),
    });
    const startedAt = performance.now();
    using silence = new SilenceTimeout(version === undefined ? requestTimeoutMs : watchSilenceMs, {
      outer: signal,
      onTimeout: () => this.#transport.renew(startedAt),
    });
    const body = await this.#transport.stream(`${path}?${query}`, silence.signal);
    onForbidden?.(undefined);
    /** The objects of a streamed list by name, until it is complete. */
    let listed = version === undefined ? new Map<string, T>() : undefined;
    if (!listed) this.#onCurrent();
    for await (const line of lines(body, silence)) {
      const event = parseEvent<T>(line);
      if (!listed) this.#onEvent(event);
      else if (event.type === "put") listed.set(nameOf(event.object), reduce(event.object));
      else if (event.type === "remove") listed.delete(nameOf(event.object));
      else if (event.endsList) {
        this.#onListed([...listed.values()], event.version);
        silence.restart(watchSilenceMs);
        listed = undefined;
      }
    }
    if (listed) throw new TypeError("The server ended the watch before the list was complete");
  }

  /** A streamed list is complete. */
  #onListed(objects: readonly T[], version: string): void {
    this.#options.onList(objects, version);
    this.#version = version;
    this.#streamsList = true;
    this.#onCurrent();
  }

  #onEvent(event: WatchEvent<T>): void {
    const { reduce = (object) => object, onChange, observer } = this.#options;
    this.#version = event.version;
    observer?.onWatchEvent(this.#resource);
    if (event.type !== "bookmark") onChange(event.type, reduce(event.object));
    this.#backoff.reset();
  }

  /** The list was delivered, and the changes since follow. */
  #onCurrent(): void {
    if (this.#failures.reset()) log.info("Watching {resource} again", { resource: this.#resource });
    this.#options.observer?.onWatchEvent(this.#resource);
  }

  /** Reports an error; returns the pause before the next attempt, in milliseconds. */
  #onError(error: unknown): number {
    const { isPermanent, onForbidden, observer } = this.#options;
    const isKubernetesError = error instanceof KubernetesError;
    if (isKubernetesError && isPermanent?.(error)) throw error;
    onForbidden?.(isKubernetesError && error.status === FORBIDDEN ? error : undefined);
    const hasExpired = hasStatus(error, GONE);
    observer?.onWatchError(this.#resource, hasExpired ? "expired" : "failed");
    const reason = messageOf(error);
    // After other errors the server may still have the changes since the last version; if not, it answers 410.
    if (hasExpired) this.#version = undefined;
    else if (this.#failures.isNew(reason)) {
      log.warn("Cannot watch {resource}, retrying: {reason}", { resource: this.#resource, reason });
    }
    const isFirst = this.#backoff.failures === 0;
    const pauseMs = this.#backoff.next(isKubernetesError ? error.retryAfterMs : 0);
    // An expired version says nothing about the state of the server.
    return hasExpired && isFirst ? 0 : pauseMs;
  }
}

type WatchEvent<T> =
  | { readonly type: "put"; readonly object: T; readonly version: string }
  | { readonly type: "remove"; readonly object: T; readonly version: string }
  | { readonly type: "bookmark"; readonly version: string; readonly endsList: boolean };

/** Aborts its signal after a time without data, or when the outer signal is aborted. */
class SilenceTimeout implements Disposable {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #onTimeout: () => void;
  #timeoutMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(timeoutMs: number, { outer, onTimeout }: { outer: AbortSignal; onTimeout: () => void }) {
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
    this.signal = AbortSignal.any([outer, this.#controller.signal]);
    this.restart();
  }

  /** Starts the time over, as data was received, from now on with another timeout if one is given. */
  restart(timeoutMs = this.#timeoutMs): void {
    this.#timeoutMs = timeoutMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#onTimeout();
      this.#controller.abort(new Error(`no data was received for ${formatDuration(timeoutMs)}`));
    }, timeoutMs);
  }

  /** Also aborts the request, so that no stream outlives the loop that reads it. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#controller.abort(new DOMException("The watch has ended", "AbortError"));
  }
}

async function* lines(body: ReadableStream<Uint8Array>, silence: SilenceTimeout): AsyncGenerator<string> {
  silence.signal.throwIfAborted();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  // Aborting a fetch does not always end a body that is being read; cancelling the reader does.
  const cancel = () => void reader.cancel().catch(() => {});
  silence.signal.addEventListener("abort", cancel, { once: true });
  let rest = "";
  const turns = new Turns();
  while (true) {
    // Reads of data that has already arrived do not wait for the event loop.
    await turns.next();
    const { done, value } = await turns.wait(reader.read());
    silence.signal.throwIfAborted();
    if (done) return;
    silence.restart();
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}

/** Parses a line; the parser's own error would quote it, and it may contain what a session keeps secret. */
function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new TypeError("The server sent an event that is not JSON");
  }
}

function parseEvent<T extends KubernetesObject>(line: string): WatchEvent<T> {
  const event = asRecord(parseLine(line));
  const object = asRecord(event?.object);
  const metadata = asRecord(object?.metadata);
  const version = metadata?.resourceVersion;
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
      return {
        type: "bookmark",
        version,
        endsList: asRecord(metadata?.annotations)?.[INITIAL_EVENTS_END] === "true",
      };
  }
}
