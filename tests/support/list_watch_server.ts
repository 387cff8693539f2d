/**
 * A Kubernetes API with one collection; a test answers each request.
 * @module
 */
import { accessTo } from "./clusters.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { Queue } from "./queue.ts";

const encoder = new TextEncoder();

/** A line of a watch. */
export function watchLine(type: string, object: unknown): string {
  return `${JSON.stringify({ type, object })}\n`;
}

/** The line after the last object of a streamed list. */
export function endOfList(resourceVersion: string): string {
  const annotations = { "k8s.io/initial-events-end": "true" };
  return watchLine("BOOKMARK", { metadata: { resourceVersion, annotations } });
}

/** An open watch to which a test writes. */
export class OpenWatch {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #isClosed = false;

  constructor() {
    this.body = new ReadableStream({
      start: (controller) => void (this.#controller = controller),
      cancel: () => void (this.#isClosed = true),
    });
  }

  /** Sends raw bytes. */
  write(chunk: string | Uint8Array): void {
    if (!this.#isClosed) this.#controller?.enqueue(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  }

  /** Sends an event. */
  event(type: string, object: unknown): void {
    this.write(watchLine(type, object));
  }

  /** Ends a streamed list. */
  endList(resourceVersion: string): void {
    this.write(endOfList(resourceVersion));
  }

  /** Ends the watch as a server does at its timeout. */
  close(): void {
    if (!this.#isClosed) this.#controller?.close();
    this.#isClosed = true;
  }

  /** Breaks the connection. */
  break(): void {
    if (!this.#isClosed) this.#controller?.error(new Error("broken"));
    this.#isClosed = true;
  }
}

/** A request that a test has to answer. */
export class PendingRequest {
  readonly url: URL;
  readonly #answer: (response: Response) => void;
  readonly #open: OpenWatch[];

  constructor(url: URL, options: { answer: (response: Response) => void; open: OpenWatch[] }) {
    this.url = url;
    this.#answer = options.answer;
    this.#open = options.open;
  }

  /** `list`, `stream` for a streamed list, or `watch` and the resource version to continue from. */
  get kind(): string {
    const { searchParams } = this.url;
    if (searchParams.get("watch") !== "true") return "list";
    return searchParams.has("sendInitialEvents") ? "stream" : `watch ${searchParams.get("resourceVersion")}`;
  }

  respond(response: Response): void {
    this.#answer(response);
  }

  /** Answers with a list. */
  list(items: unknown[], resourceVersion: string): void {
    this.respond(Response.json({ kind: "List", metadata: { resourceVersion }, items }));
  }

  /** Answers with an error status. */
  refuse(code: number, message: string, headers: Readonly<Record<string, string>> = {}): void {
    const body = { kind: "Status", status: "Failure", code, message };
    this.respond(Response.json(body, { status: code, headers }));
  }

  /** Answers with an open watch. */
  watch(): OpenWatch {
    const watch = new OpenWatch();
    this.#open.push(watch);
    this.respond(new Response(watch.body));
    return watch;
  }
}

/** The server; it listens on a free port until it is disposed. */
export class ListWatchServer implements AsyncDisposable {
  /** Requests in the order of arrival. */
  readonly requests = new Queue<PendingRequest>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #open: OpenWatch[] = [];
  readonly #end = Promise.withResolvers<Response>();

  constructor() {
    this.#server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      const { promise, resolve } = Promise.withResolvers<Response>();
      this.requests.push(new PendingRequest(new URL(request.url), { answer: resolve, open: this.#open }));
      return Promise.race([promise, this.#end.promise]);
    });
  }

  /** Creates a transport to this server. */
  connect(): Transport {
    const access = accessTo(`http://127.0.0.1:${this.#server.addr.port}`, "t");
    return new Transport(() => access);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.resolve(new Response(null, { status: 503 }));
    for (const watch of this.#open) watch.close();
    await this.#server.shutdown();
  }
}
