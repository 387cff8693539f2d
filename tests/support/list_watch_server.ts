/**
 * A collection of a Kubernetes API, request by request as a test answers it.
 * @module
 */
import { KubeConfig } from "@kubernetes/client-node";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { Queue } from "./queue.ts";

const encoder = new TextEncoder();

/** A watch that is open, to be spoken on. */
export class OpenWatch {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #isOver = false;

  constructor() {
    this.body = new ReadableStream({
      start: (controller) => void (this.#controller = controller),
      cancel: () => void (this.#isOver = true),
    });
  }

  /** Sends bytes as they are. */
  write(chunk: string | Uint8Array): void {
    if (!this.#isOver) this.#controller?.enqueue(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  }

  /** Sends an event. */
  event(type: string, object: unknown): void {
    this.write(`${JSON.stringify({ type, object })}\n`);
  }

  /** Ends the watch as a server does when its time is up. */
  close(): void {
    if (!this.#isOver) this.#controller?.close();
    this.#isOver = true;
  }

  /** Ends it as a connection that breaks. */
  break(): void {
    if (!this.#isOver) this.#controller?.error(new Error("broken"));
    this.#isOver = true;
  }
}

/** A request that waits for its answer. */
export class PendingRequest {
  readonly url: URL;
  readonly #answer: (response: Response) => void;
  readonly #open: OpenWatch[];

  constructor(url: URL, options: { answer: (response: Response) => void; open: OpenWatch[] }) {
    this.url = url;
    this.#answer = options.answer;
    this.#open = options.open;
  }

  /** What it asks for: `list`, or `watch` and the version to go on from. */
  get asks(): string {
    const { searchParams } = this.url;
    return searchParams.get("watch") === "true" ? `watch ${searchParams.get("resourceVersion")}` : "list";
  }

  respond(response: Response): void {
    this.#answer(response);
  }

  /** Answers with a list. */
  list(items: unknown[], resourceVersion: string): void {
    this.respond(Response.json({ kind: "List", metadata: { resourceVersion }, items }));
  }

  /** Refuses as an API server does. */
  refuse(code: number, message: string, headers: Readonly<Record<string, string>> = {}): void {
    const body = { kind: "Status", status: "Failure", code, message };
    this.respond(Response.json(body, { status: code, headers }));
  }

  /** Answers with a watch. */
  watch(): OpenWatch {
    const watch = new OpenWatch();
    this.#open.push(watch);
    this.respond(new Response(watch.body));
    return watch;
  }
}

/** Serves on a free port until it is disposed. */
export class ListWatchServer implements AsyncDisposable {
  /** Requests as they arrive. */
  readonly requests = new Queue<PendingRequest>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #open: OpenWatch[] = [];
  readonly #over = Promise.withResolvers<Response>();

  constructor() {
    this.#server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      const { promise, resolve } = Promise.withResolvers<Response>();
      this.requests.push(new PendingRequest(new URL(request.url), { answer: resolve, open: this.#open }));
      return Promise.race([promise, this.#over.promise]);
    });
  }

  /** A transport to this server. */
  connect(): Transport {
    const config = new KubeConfig();
    const server = `http://127.0.0.1:${this.#server.addr.port}`;
    config.loadFromClusterAndUser({ name: "c", server, skipTLSVerify: true }, { name: "u", token: "t" });
    return new Transport(() => config);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.resolve(new Response(null, { status: 503 }));
    for (const watch of this.#open) watch.close();
    await this.#server.shutdown();
  }
}
