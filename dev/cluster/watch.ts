/**
 * Watches: streams of JSON lines with the changes since a revision, and then each new change.
 * @module
 */
import type { ApiObject } from "./api_objects.ts";
import { ApiError, expired } from "./api_error.ts";
import { isTrue } from "./api_request.ts";
import { groupVersion, type ResourceType } from "./resources.ts";
import type { Predicate } from "./selectors.ts";
import type { Change, Store } from "./store.ts";

/** Options of a watch. */
export interface WatchOptions {
  readonly type: ResourceType;
  /** Selects the objects. */
  readonly matches: Predicate<ApiObject>;
  readonly query: URLSearchParams;
  /** Format of an object: itself or a table. */
  readonly show: (object: ApiObject) => unknown;
}

interface Open {
  send(type: string, object: unknown): void;
  close(): void;
}

/** Interval of bookmarks on an idle watch, in milliseconds. */
const BOOKMARK_MS = 10_000;
const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/** All open watches. */
export class Watches {
  readonly #store: Store;
  readonly #open = new Set<Open>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Opens a watch; cancelling the stream closes it. */
  open(options: WatchOptions): ReadableStream<Uint8Array> {
    let watch: Open | undefined;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        watch = this.#begin(options, controller);
      },
      cancel: () => watch?.close(),
    });
  }

  /** Ends all watches without an event. */
  closeAll(): void {
    for (const watch of this.#open) watch.close();
  }

  /** Ends all watches with error 410. */
  expireAll(): void {
    const { revision } = this.#store;
    for (const watch of this.#open) {
      watch.send("ERROR", expired(revision - 1, revision).status);
      watch.close();
    }
  }

  #begin(options: WatchOptions, controller: ReadableStreamDefaultController<Uint8Array>): Open {
    const encoder = new TextEncoder();
    const timers: ReturnType<typeof setTimeout>[] = [];
    let isOpen = true;
    const watch: Open = {
      send(type, object) {
        if (isOpen) controller.enqueue(encoder.encode(`${JSON.stringify({ type, object })}\n`));
      },
      close: () => {
        if (!isOpen) return;
        isOpen = false;
        unsubscribe();
        timers.forEach(clearTimeout);
        this.#open.delete(watch);
        try {
          controller.close();
        } catch {
          // The client has cancelled the stream.
        }
      },
    };
    this.#open.add(watch);
    const unsubscribe = this.#store.subscribe((change) => sendChange(watch, change, options));
    this.#sendMissed(watch, options);
    timers.push(...this.#schedule(watch, options));
    return watch;
  }

  #sendMissed(watch: Open, { type, matches, query, show }: WatchOptions): void {
    const from = query.get("resourceVersion") ?? "";
    const isInitial = isTrue(query.get("sendInitialEvents"));
    if (isInitial || from === "" || from === "0") {
      for (const object of this.#store.list(type).filter(matches)) watch.send("ADDED", show(object));
      if (isInitial) watch.send("BOOKMARK", this.#bookmark(type, { [INITIAL_EVENTS_END]: "true" }));
      return;
    }
    try {
      for (const change of this.#store.since(type, Number(from))) {
        sendChange(watch, change, { type, matches, query, show });
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      watch.send("ERROR", error.status);
      queueMicrotask(watch.close);
    }
  }

  #schedule(watch: Open, { type, query }: WatchOptions): ReturnType<typeof setTimeout>[] {
    const mayBookmark = isTrue(query.get("allowWatchBookmarks"));
    const bookmark = () => mayBookmark && watch.send("BOOKMARK", this.#bookmark(type));
    const seconds = Number(query.get("timeoutSeconds") ?? 0);
    const end = () => {
      bookmark();
      watch.close();
    };
    return [
      ...(mayBookmark ? [setInterval(bookmark, BOOKMARK_MS)] : []),
      ...(seconds > 0 ? [setTimeout(end, seconds * 1000)] : []),
    ];
  }

  #bookmark(type: ResourceType, annotations?: Record<string, string>): unknown {
    const metadata = { resourceVersion: String(this.#store.revision), creationTimestamp: null, annotations };
    return { kind: type.kind, apiVersion: groupVersion(type), metadata };
  }
}

/** Converts a change to an event of a watch: an object that starts to match was added, one that stops was deleted. */
function sendChange(watch: Open, change: Change, { type, matches, show }: WatchOptions): void {
  if (change.resource !== type) return;
  const was = change.previous !== undefined && matches(change.previous);
  const is = change.type !== "DELETED" && matches(change.object);
  if (is) watch.send(was ? "MODIFIED" : "ADDED", show(change.object));
  else if (was) watch.send("DELETED", show(change.object));
}
