/**
 * The ways from a viewer to a pod that the stream benchmark compares.
 * @module
 */
import type { ControlPlane } from "../control_plane/control_plane.ts";
import type { AgentProcess } from "../agent_process.ts";

/** A stream from the side of its viewer. */
export interface BenchStream extends Disposable {
  /** The next bytes; they count as passed on. */
  read(): Promise<Uint8Array>;
  write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** A way to the pods. */
export interface Path {
  readonly name: string;
  /** Opens a stream to the display of a session. */
  readonly open: (sessionId: string) => Promise<BenchStream>;
  /** Whether a session has any number of streams at the same time. */
  readonly hasManyStreams: boolean;
  /** The agent on the way, if there is one. */
  readonly agent?: BenchAgent;
}

/** An agent with a Control Plane of its own. */
export interface BenchAgent {
  readonly id: string;
  readonly process: AgentProcess;
  readonly controlPlane: ControlPlane;
}

/** Through a relay of TCP connections. */
export function tcpPath(port: number): Path {
  const open = async () => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.setNoDelay(true);
    const buffer = new Uint8Array(64 * 1024);
    return {
      read: async () => buffer.subarray(0, await connection.read(buffer) ?? 0),
      write: async (bytes: Uint8Array) => void await connection.write(bytes),
      [Symbol.dispose]: () => connection.close(),
    };
  };
  return { name: "TCP relay", open, hasManyStreams: true };
}

/** Through a relay of WebSockets. */
export function webSocketPath(port: number): Path {
  const open = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    socket.binaryType = "arraybuffer";
    const received = new Inbox();
    socket.onmessage = ({ data }) => received.push(new Uint8Array(data as ArrayBuffer));
    socket.onerror = () => {};
    await new Promise((resolve) => socket.onopen = resolve);
    return {
      read: () => received.next(),
      write: (bytes: Uint8Array<ArrayBuffer>) => Promise.resolve(socket.send(bytes)),
      [Symbol.dispose]: () => socket.close(),
    };
  };
  return { name: "WebSocket hop", open, hasManyStreams: true };
}

/** Through the tunnel of an agent. */
export function tunnelPath(name: string, agent: BenchAgent): Path {
  const open = async (sessionId: string) => {
    const signal = AbortSignal.timeout(60_000);
    await agent.controlPlane.tunnels.waitFor(agent.id, signal);
    const { stream } = await agent.controlPlane.tunnels.open(agent.id, { sessionId }, signal);
    return {
      read: async () => {
        const bytes = await stream.read();
        if (!bytes) throw new Error("The pod ended the stream");
        stream.passedOn(bytes.length);
        return bytes;
      },
      write: (bytes: Uint8Array) => stream.write(bytes),
      [Symbol.dispose]: () => stream.reset("cancelled", "the viewer has gone"),
    };
  };
  return { name, open, hasManyStreams: true, agent };
}

/** In messages of the control link. */
export function vncMessagesPath({ id, controlPlane, process }: BenchAgent): Path {
  const open = async (sessionId: string) => {
    const received = new Inbox();
    const end = new AbortController();
    const { promise: isReady, resolve } = Promise.withResolvers<void>();
    let isConnected = false;
    let past = controlPlane.messages.length;
    void controlPlane.waitFor(({ type, payload }) => {
      if (past-- > 0 || payload.sessionId !== sessionId) return false;
      if (type === "vnc_ready") isConnected = true, resolve();
      if (!isConnected) return false;
      if (type === "vnc_data") received.push(Uint8Array.fromBase64(String(payload.data)));
      return false;
    }, { signal: end.signal }).catch(() => {});
    const send = (type: string, payload: object) => controlPlane.send(id, { type, payload });
    // The agent connects the display again, as for each viewer.
    send("vnc_close", { sessionId });
    await isReady;
    return {
      read: () => received.next(),
      write: (bytes: Uint8Array) => Promise.resolve(send("vnc_data", { sessionId, data: bytes.toBase64() })),
      [Symbol.dispose]: () => {
        end.abort();
        send("vnc_close", { sessionId });
      },
    };
  };
  return { name: "VNC messages", open, hasManyStreams: false, agent: { id, controlPlane, process } };
}

/** Messages that arrived and were not read yet. */
class Inbox {
  readonly #messages: Uint8Array[] = [];
  #wake: () => void = () => {};

  push(bytes: Uint8Array): void {
    this.#messages.push(bytes);
    this.#wake();
  }

  async next(): Promise<Uint8Array> {
    while (true) {
      const bytes = this.#messages.shift();
      if (bytes) return bytes;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}
