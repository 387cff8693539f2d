/**
 * Connects to a port of a session's pod: directly to its address, or through the API server (`port_forward.ts`).
 * @module
 */
import { deadline } from "@std/async";
import { isTimeout, messageOf } from "../common/errors.ts";
import type { DialMode } from "../model/settings.ts";
import { StreamResetError } from "./tunnel_messages.ts";

/** A connection to a port of a pod. */
export interface PodConnection {
  /** The next bytes; `null` if the pod sends no more. The bytes are valid until the next call. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when the bytes are accepted further on. */
  write(bytes: Uint8Array): Promise<void>;
  /** Sends the end of the data to the pod, if the connection supports half-close. */
  finish(): Promise<void>;
  close(): void;
}

/** A port of a pod. */
export interface PodPort {
  readonly podName: string;
  readonly podIP: string;
  readonly port: number;
}

/** Opens connections to pods. */
export interface Dialer {
  readonly mode: DialMode;
  /** @throws {StreamResetError} with the code `refused`, `unreachable`, `timeout`, `forbidden` or `pod-gone` */
  dial(target: PodPort, signal: AbortSignal): Promise<PodConnection>;
}

/** Timeout of a connection, in milliseconds. */
export const DIAL_TIMEOUT_MS = 10_000;
/** Bytes that are read at once. */
const READ_BYTES = 32 * 1024;

/** Connects by TCP to the addresses of pods. */
export class DirectDialer implements Dialer {
  readonly mode = "direct";

  async dial({ podIP, port }: PodPort, signal: AbortSignal): Promise<PodConnection> {
    const abort = new AbortController();
    const connecting = Deno.connect({
      hostname: podIP,
      port,
      signal: AbortSignal.any([signal, abort.signal]),
    });
    try {
      return new TcpConnection(await deadline(connecting, DIAL_TIMEOUT_MS));
    } catch (error) {
      abort.abort();
      connecting.then((connection) => connection.close(), () => {});
      signal.throwIfAborted();
      throw dialError(error, port);
    }
  }
}

function dialError(error: unknown, port: number): StreamResetError {
  if (isTimeout(error) || error instanceof Deno.errors.TimedOut) {
    return new StreamResetError("timeout", `the pod does not answer on port ${port}`, { cause: error });
  }
  if (error instanceof Deno.errors.ConnectionRefused) {
    return new StreamResetError("refused", `the pod refuses connections to port ${port}`, { cause: error });
  }
  const message = `the pod cannot be reached on port ${port}: ${messageOf(error)}`;
  return new StreamResetError("unreachable", message, { cause: error });
}

export class TcpConnection implements PodConnection {
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);

  constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    // Key strokes must not wait for more bytes.
    connection.setNoDelay(true);
  }

  async read(): Promise<Uint8Array | null> {
    const count = await this.#connection.read(this.#buffer);
    return count === null ? null : this.#buffer.subarray(0, count);
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) rest = rest.subarray(await this.#connection.write(rest));
  }

  async finish(): Promise<void> {
    await this.#connection.closeWrite();
  }

  close(): void {
    try {
      this.#connection.close();
    } catch {
      // Closed before.
    }
  }
}
