/**
 * A port of a pod in memory, whose address is the machine's: greets each connection like an RFB server, then echoes.
 * @module
 */

/** What each connection begins with. */
export const GREETING = "RFB 003.008\n";

/** Listens until it is disposed. */
export class EchoPort implements AsyncDisposable {
  readonly #listener: Deno.Listener;
  readonly #greeting: Uint8Array;
  readonly #open = new Set<Deno.Conn>();
  readonly #accepting: Promise<void>;
  #changed = Promise.withResolvers<void>();

  /** @param greeting what each connection begins with. @default {@linkcode GREETING} */
  constructor(address: { readonly hostname: string; readonly port: number }, greeting = GREETING) {
    this.#listener = Deno.listen(address);
    this.#greeting = new TextEncoder().encode(greeting);
    this.#accepting = this.#accept();
  }

  /** Resolves when so many connections are open. */
  async untilOpen(count: number): Promise<void> {
    while (this.#open.size !== count) await this.#changed.promise;
  }

  /** Ends all connections. */
  endConnections(): void {
    for (const connection of this.#open) connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.endConnections();
    await this.#accepting;
    await this.untilOpen(0);
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) void this.#serve(connection);
    } catch {
      // It does not listen any more.
    }
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    this.#open.add(connection);
    this.#notify();
    try {
      await connection.write(this.#greeting);
      await connection.readable.pipeTo(connection.writable);
    } catch {
      // Closed, here or by the peer.
    }
    this.#open.delete(connection);
    this.#notify();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
