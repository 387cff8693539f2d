/**
 * Streams from the side of the Control Plane, to pods that echo.
 * @module
 */
import { assertRejects } from "@std/assert";
import { GREETING } from "../../dev/desktop/echo_pod.ts";
import type { OpenedStream } from "../../lib/streams/tunnel_connection.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import { AGENT_ID, type AnyStage } from "./stage.ts";

export const MIB = 1024 * 1024;

/** Opens a stream of the tunnel, past the time in which the agent opens its tunnel. */
export async function open(stage: AnyStage, sessionId: string, port?: number): Promise<OpenedStream> {
  const signal = AbortSignal.timeout(30_000);
  await stage.controlPlane.tunnels.waitFor(AGENT_ID, signal);
  return await stage.controlPlane.tunnels.open(AGENT_ID, { sessionId, port }, signal);
}

/** Reads at least this many bytes, and passes them on. */
export async function read({ stream }: OpenedStream, count: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(count);
  let length = 0;
  while (length < count) {
    const chunk = await stream.read();
    if (!chunk) throw new Error(`The stream ended after ${length} of ${count} bytes`);
    bytes.set(chunk.subarray(0, count - length), length);
    length += chunk.length;
    stream.passedOn(chunk.length);
  }
  return bytes;
}

/** What the pod sends first. */
export async function greeting(opened: OpenedStream): Promise<string> {
  return new TextDecoder().decode(await read(opened, GREETING.length));
}

/** The code with which an attempt is rejected. */
export async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return String((await assertRejects(() => attempt, StreamResetError)).code);
}

/** Pseudo-random bytes, the same for the same seed. */
export function pattern(seed: number, length: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}
