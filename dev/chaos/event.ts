/**
 * The events of a plan.
 * @module
 */
import type { ApiFault } from "../faults/api_fault.ts";
import type { TcpFault } from "../faults/tcp_fault.ts";

/** A command of the plan. The plan chooses its id, so that a repeated run has the same ids. */
export interface PlannedCommand {
  readonly commandId: string;
  readonly action: string;
  readonly sessionId: string;
  readonly payload: unknown;
}

/** The role of a replica at the time of the event. */
export type Role = "leader" | "standby";

/** The Control Plane sends commands. */
export interface SendCommands {
  readonly kind: "commands";
  readonly commands: readonly PlannedCommand[];
  /** Whether one frame has all of them. */
  readonly isJoined: boolean;
}

/** The Control Plane sends a command again that has no result yet. */
export interface RepeatCommand {
  readonly kind: "repeat";
}

/** A replica is killed or terminated. */
export interface EndReplica {
  readonly kind: "kill" | "terminate";
  readonly role: Role;
}

/** A replica is frozen for a time. */
export interface FreezeReplica {
  readonly kind: "freeze";
  readonly role: Role;
  readonly ms: number;
}

/** A fault of a TCP connection. */
export type ConnectionFault =
  | { readonly kind: "cut" | "reset" }
  | { readonly kind: "mode"; readonly mode: TcpFault; readonly ms: number };

/** A fault between a replica and the Control Plane. */
export interface LinkFaultEvent {
  readonly kind: "link";
  readonly role: Role;
  readonly fault:
    | ConnectionFault
    | { readonly kind: "disconnect"; readonly code?: number }
    | {
      readonly kind: "registration";
      readonly status: 429 | 503;
      readonly times: number;
      readonly retryAfterSeconds: number;
    };
}

/** A fault between a replica and the API server. */
export interface ApiFaultEvent {
  readonly kind: "api";
  readonly role: Role;
  readonly fault:
    | ConnectionFault
    | { readonly kind: "answers"; readonly fault: ApiFault }
    | { readonly kind: "hang"; readonly verb: string; readonly times: number; readonly ms: number }
    | { readonly kind: "watches"; readonly how: "end" | "expire" | "stall" };
}

/** The API server is frozen for a time. */
export interface FreezeServer {
  readonly kind: "server";
  readonly ms: number;
}

/** An administrator deletes objects of a session, or removes the label `app` of its Deployment (`labels`). */
export interface Deletion {
  readonly kind: "administrator";
  readonly sessionId: string;
  readonly target: "pod" | "replicaset" | "service" | "policy" | "labels" | "deployment" | "session";
}

/** One event. */
export type ChaosEvent =
  | SendCommands
  | RepeatCommand
  | EndReplica
  | FreezeReplica
  | LinkFaultEvent
  | ApiFaultEvent
  | FreezeServer
  | Deletion;

/** An event and its time, in milliseconds from the start of the run. */
export interface TimedEvent {
  readonly atMs: number;
  readonly event: ChaosEvent;
}

/** A short description of an event. */
export function describeEvent(event: ChaosEvent): string {
  switch (event.kind) {
    case "commands": {
      const texts = event.commands.map(({ commandId, action, sessionId }) =>
        `${commandId} ${action} ${sessionId}`
      );
      return `${texts.join(", ")}${event.isJoined && texts.length > 1 ? " in one frame" : ""}`;
    }
    case "repeat":
      return "repeat a command without a result";
    case "kill":
    case "terminate":
      return `${event.kind} the ${event.role}`;
    case "freeze":
      return `freeze the ${event.role} for ${event.ms} ms`;
    case "link":
    case "api":
      return `${event.kind} of the ${event.role}: ${JSON.stringify(event.fault)}`;
    case "server":
      return `freeze the API server for ${event.ms} ms`;
    case "administrator":
      return `administrator deletes the ${event.target} of ${event.sessionId}`;
  }
}
