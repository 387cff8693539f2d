/**
 * A Control Plane that answers what a test tells it to.
 * @module
 */
import { type ControlPlaneAddresses, controlPlaneAddresses } from "../../lib/control_plane/addresses.ts";
import type { Registration } from "../../lib/control_plane/registration.ts";
import { Queue } from "./queue.ts";

/** A request as it arrived. */
export interface Received {
  readonly url: URL;
  readonly headers: Headers;
  readonly text: string;
}

/** Answers to the requests of one kind; each is told how many came before it. */
export interface Script {
  readonly register: (nth: number, controlPlane: ScriptedControlPlane) => Response | Promise<Response>;
  /** Whether a connection is accepted; all are by default. Whoever asks without an upgrade gets the answer to the last one. */
  readonly refuse?: (nth: number, key: string | null) => Response | undefined;
}

/** What an agent of the tests says of itself. */
export const REGISTRATION: Registration = {
  agentId: "a1",
  platform: "kubernetes",
  region: "eu",
  capacity: { maxCpu: 100, maxMemory: 128, maxSessions: 100, cpu: "100 cores", memory: "128Gi" },
  features: ["tunnel.v1"],
  metadata: { namespace: "streamspace", kubernetes: true, templates: ["firefox"] },
};

/** The answer of a Control Plane that accepts an agent. */
export function registered(extra: Record<string, unknown> = {}): Response {
  return Response.json({ id: "1", agentId: "a1", platform: "kubernetes", status: "online", ...extra });
}

/** Serves on a free port until it is disposed. */
export class ScriptedControlPlane implements AsyncDisposable {
  readonly registrations: Received[] = [];
  readonly connections: Received[] = [];
  /** Requests at the address of connections without an upgrade. */
  readonly questions: Received[] = [];
  /** The Control Plane's ends of the connections, as they open. */
  readonly sockets = new Queue<WebSocket>();
  /** Texts that arrived over any connection. */
  readonly texts = new Queue<string>();
  /** Registrations as they arrive. */
  readonly arrivals = new Queue<Received>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #script: Script;
  readonly #open = new Set<WebSocket>();
  readonly #over = Promise.withResolvers<void>();

  constructor(script: Script) {
    this.#script = script;
    this.#server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      (request) => this.#answer(request),
    );
  }

  get addresses(): ControlPlaneAddresses {
    return controlPlaneAddresses(`ws://127.0.0.1:${this.#server.addr.port}`);
  }

  /** An answer that does not come before the end of the test. */
  async hang(): Promise<Response> {
    await this.#over.promise;
    return new Response();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.resolve();
    await Promise.all([...this.#open].map((socket) => {
      const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
      socket.close();
      return closed;
    }));
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const received = { url, headers: new Headers(request.headers), text: await request.text() };
    if (request.method === "POST" && url.pathname === "/api/v1/agents/register") {
      this.registrations.push(received);
      this.arrivals.push(received);
      return await this.#script.register(this.registrations.length - 1, this);
    }
    if (url.pathname !== "/api/v1/agents/connect") return new Response(null, { status: 404 });
    const isUpgrade = received.headers.has("upgrade");
    (isUpgrade ? this.connections : this.questions).push(received);
    const refusal = this.#script.refuse?.(
      this.connections.length - 1,
      received.headers.get("x-agent-api-key"),
    );
    if (refusal) return refusal;
    return isUpgrade ? this.#connect(request) : new Response(null, { status: 426 });
  }

  #connect(request: Request): Response {
    const { socket, response } = Deno.upgradeWebSocket(request);
    this.#open.add(socket);
    socket.addEventListener("open", () => this.sockets.push(socket));
    socket.addEventListener("message", (event) => this.texts.push(event.data));
    socket.addEventListener("close", () => this.#open.delete(socket));
    return response;
  }
}
