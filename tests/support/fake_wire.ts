/**
 * A link for tests that keeps what is sent.
 * @module
 */
import type { Wire } from "../../lib/control_plane/outbox.ts";
import type { Outbound } from "../../lib/control_plane/protocol.ts";

/** What a heartbeat tells of capacity, where a test does not care. */
export const CAPACITY = {
  maxCpu: 1,
  maxMemory: 1,
  maxSessions: 1,
  cpu: "1 cores",
  memory: "1Gi",
  usedSessions: 1,
  usedCpu: 0.5,
  usedMemory: 0.25,
};

/** Takes messages and remembers them without their time. */
export class FakeWire implements Wire {
  readonly messages: Outbound[] = [];
  /** Whether nothing leaves any more, as by a socket that is closing. */
  isClosing = false;

  send(text: string): boolean {
    if (this.isClosing) return false;
    const { type, payload } = JSON.parse(text);
    this.messages.push({ type, payload } as Outbound);
    return true;
  }

  /** Each message as its type and the id that it is about. */
  get told(): string[] {
    return this.messages.map(({ type, payload }) => {
      const { commandId, sessionId, state } = payload as Record<string, string | undefined>;
      return [type, commandId ?? sessionId, state].filter(Boolean).join(" ");
    });
  }
}
