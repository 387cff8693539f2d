/**
 * Opens streams to running sessions during a run, and checks the bytes that their pods echo. A stream may end at any time with a code, but it must
 * neither hang nor carry a wrong byte.
 * @module
 */
import { deadline, delay } from "@std/async";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";
import type { ControlPlane } from "../control_plane/control_plane.ts";
import { GREETING } from "../desktop/echo_pod.ts";
import type { Violation } from "./checks.ts";
import type { Random } from "./random.ts";

/** What the streams did. */
export interface StreamCounts {
  opened: number;
  /** Rejected and ended streams, by code. */
  readonly codes: Map<string, number>;
  /** Bytes that came back as they were sent. */
  bytes: number;
}

/** Streams at the same time. */
const STREAMS = 4;
const MAX_CHUNK_BYTES = 64 * 1024;
/** Longest life of a stream that nothing ends, in milliseconds. */
const LIFE_MS = 10_000;
const PAUSE_MS = 200;
/** Longest time without progress: an agent can be frozen, and half-open connections are detected after 30 seconds. */
const HANGING_MS = 120_000;

/** Uses streams until it is stopped. */
export class StreamProbe {
  readonly counts: StreamCounts = { opened: 0, codes: new Map(), bytes: 0 };
  /** Wrong bytes and streams that hung. */
  readonly violations: Violation[] = [];
  readonly #controlPlane: ControlPlane;
  readonly #agentId: string;
  readonly #random: Random;
  readonly #stopping = new AbortController();
  readonly #states = new Map<string, unknown>();
  #seen = 0;
  #running: Promise<unknown> = Promise.resolve();

  constructor(controlPlane: ControlPlane, { agentId, random }: { agentId: string; random: Random }) {
    this.#controlPlane = controlPlane;
    this.#agentId = agentId;
    this.#random = random;
  }

  /** Opens streams from now on. */
  start(): void {
    this.#running = Promise.all(Array.from({ length: STREAMS }, () => this.#run()));
  }

  /** Opens no more streams, and waits for the open ones. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  /** Opens a stream to each running session, which must succeed once all faults have ended. */
  async check(): Promise<void> {
    for (const sessionId of this.#runningSessions()) {
      const code = await this.#use(sessionId, { lifeMs: 0 });
      if (code !== "cancelled") {
        const text = `A stream to session ${sessionId} failed after the faults: ${code}`;
        this.violations.push({ text, sessionId });
      }
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const [first, ...others] = this.#runningSessions();
      if (first) await this.#use(this.#random.pick([first, ...others]), { lifeMs: LIFE_MS });
      await delay(PAUSE_MS, { signal }).catch(() => {});
    }
  }

  /** Uses one stream, and returns the code with which it ended. */
  async #use(sessionId: string, { lifeMs }: { lifeMs: number }): Promise<string> {
    let code: string;
    try {
      const signal = AbortSignal.timeout(HANGING_MS);
      await this.#controlPlane.tunnels.waitFor(this.#agentId, signal);
      const { stream } = await this.#controlPlane.tunnels.open(this.#agentId, { sessionId }, signal);
      this.counts.opened += 1;
      code = await this.#exchange(stream, { sessionId, lifeMs });
    } catch (error) {
      code = error instanceof StreamResetError ? error.code : "hanging";
      if (code === "hanging") {
        this.violations.push({ text: `A stream to session ${sessionId} hung: ${error}`, sessionId });
      }
    }
    this.counts.codes.set(code, (this.counts.codes.get(code) ?? 0) + 1);
    return code;
  }

  async #exchange(
    stream: TunnelStream,
    { sessionId, lifeMs }: { sessionId: string; lifeMs: number },
  ): Promise<string> {
    const { signal } = this.#stopping;
    const endsAt = performance.now() + lifeMs;
    const exchange = async (sent: Uint8Array, expected: Uint8Array) => {
      const both = Promise.all([readExactly(stream, expected.length), stream.write(sent)]);
      const [received] = await deadline(both, HANGING_MS);
      if (received.every((byte, index) => byte === expected[index])) this.counts.bytes += received.length;
      else this.violations.push({ text: `A stream to session ${sessionId} has a wrong byte`, sessionId });
    };
    try {
      await exchange(new Uint8Array(0), new TextEncoder().encode(GREETING));
      do {
        const bytes = new Uint8Array(this.#random.integer(1, MAX_CHUNK_BYTES));
        for (let i = 0; i < bytes.length; i += 1) bytes[i] = this.#random.integer(0, 255);
        await exchange(bytes, bytes);
      } while (performance.now() < endsAt && !signal.aborted);
    } finally {
      stream.reset("cancelled", "the viewer has gone");
    }
    return stream.end?.code ?? "";
  }

  /** The sessions whose last status is running. */
  #runningSessions(): string[] {
    const { messages } = this.#controlPlane;
    for (; this.#seen < messages.length; this.#seen += 1) {
      const { type, payload } = messages[this.#seen]?.message ?? {};
      if (type === "status") this.#states.set(String(payload?.sessionId), payload?.state);
    }
    return [...this.#states].filter(([, state]) => state === "running").map(([sessionId]) => sessionId);
  }
}

async function readExactly(stream: TunnelStream, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let count = 0; count < length;) {
    const chunk = await stream.read();
    if (!chunk) throw new StreamResetError("finished", "the pod ended the stream");
    bytes.set(chunk, count);
    count += chunk.length;
    stream.passedOn(chunk.length);
  }
  return bytes;
}
