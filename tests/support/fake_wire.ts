/**
 * A link that records sent messages.
 * @module
 */
import type { Wire } from "../../lib/control_plane/outbox.ts";
import type { Outbound } from "../../lib/control_plane/protocol.ts";

/** A capacity for heartbeats. */
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

/** Records messages without their timestamps. */
export class FakeWire implements Wire {
  readonly messages: Outbound[] = [];
  /** Whether it accepts no more messages, as a closing socket does. */
  isClosing = false;

  send(text: string): boolean {
    if (this.isClosing) return false;
    const { type, payload } = JSON.parse(text);
    this.messages.push({ type, payload } as Outbound);
    return true;
  }

  /** Each message as its type, id and state, such as `status s1 running`. */
  get sent(): string[] {
    return this.messages.map(({ type, payload }) => {
      const { commandId, sessionId, state } = payload as Record<string, string | undefined>;
      return [type, commandId ?? sessionId, state].filter(Boolean).join(" ");
    });
  }
}
