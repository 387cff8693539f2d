/**
 * An HTTP proxy that records its requests: it forwards plain ones, and opens a tunnel for `CONNECT`.
 * @module
 */

/** A request to the proxy. */
export interface ProxiedRequest {
  /** `CONNECT` for a tunnel. */
  readonly method: string;
  /** Host and port. */
  readonly target: string;
  /** The Proxy-Authorization header; empty if there is none. */
  readonly authorization: string;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Listens on loopback until it is disposed. */
export class RecordingProxy implements AsyncDisposable {
  readonly requests: ProxiedRequest[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.TcpConn>();
  readonly #running: Promise<void>;

  constructor() {
    this.#running = this.#serve();
  }

  /** Host and port. */
  get host(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) close(connection);
    await this.#running;
  }

  async #serve(): Promise<void> {
    const handling: Promise<void>[] = [];
    for await (const connection of this.#listener) handling.push(this.#handle(connection));
    await Promise.all(handling);
  }

  async #handle(client: Deno.TcpConn): Promise<void> {
    this.#open.add(client);
    const head = await readHead(client);
    const [, method = "", target = ""] = /^(\S+) (?:http:\/\/)?([^/ ]+)/.exec(head) ?? [];
    if (target === "") return close(client);
    const [, authorization = ""] = /^proxy-authorization: (.*)$/im.exec(head) ?? [];
    this.requests.push({ method, target, authorization: authorization.trim() });
    const [hostname = "", port = "80"] = target.split(":");
    const server = await Deno.connect({ hostname, port: Number(port) });
    this.#open.add(server);
    if (method === "CONNECT") await client.write(encoder.encode("HTTP/1.1 200 OK\r\n\r\n"));
    // Headers for the proxy are not forwarded.
    else {await server.write(
        encoder.encode(head.replace(/http:\/\/[^/]+/, "").replace(/^proxy-.*\r\n/gim, "")),
      );}
    await Promise.allSettled([
      client.readable.pipeTo(server.writable),
      server.readable.pipeTo(client.writable),
    ]);
    for (const connection of [client, server]) close(connection);
  }
}

/** Reads up to the empty line after the headers, and what arrived with it. */
async function readHead(connection: Deno.TcpConn): Promise<string> {
  let head = "";
  const buffer = new Uint8Array(16 * 1024);
  while (!head.includes("\r\n\r\n")) {
    const length = await connection.read(buffer).catch(() => null);
    if (length === null) return "";
    head += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  return head;
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // Its stream has already closed it.
  }
}
