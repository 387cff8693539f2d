/**
 * What can happen in a run: the words of a plan.
 * @module
 */
import type { ApiFault } from "../faults/api_fault.ts";
import type { TcpFault } from "../faults/tcp_fault.ts";

/** A command of the plan; its id is the plan's own, so that a replay has the same ids. */
export interface PlannedCommand {
  readonly commandId: string;
  readonly action: string;
  readonly sessionId: string;
  readonly payload: unknown;
}

/** Which of the replicas is meant, as they stand when the event comes. */
export type Role = "leader" | "standby";

/** The Control Plane gives commands. */
export interface GiveCommands {
  readonly kind: "commands";
  readonly commands: readonly PlannedCommand[];
  /** Whether all stand in one frame. */
  readonly isJoined: boolean;
}

/** The Control Plane sends once more what the agent took but has not answered. */
export interface RepeatCommand {
  readonly kind: "repeat";
}

/** A replica is ended. */
export interface EndReplica {
  readonly kind: "kill" | "terminate";
  readonly role: Role;
}

/** A replica stands still for a time, and goes on as if nothing had been. */
export interface FreezeReplica {
  readonly kind: "freeze";
  readonly role: Role;
  readonly ms: number;
}

/** What can be wrong with any way. */
export type WayFault =
  | { readonly kind: "cut" | "reset" }
  | { readonly kind: "mode"; readonly mode: TcpFault; readonly ms: number };

/** Something is wrong between a replica and the Control Plane. */
export interface LinkTrouble {
  readonly kind: "link";
  readonly role: Role;
  readonly fault:
    | WayFault
    | { readonly kind: "disconnect"; readonly code?: number }
    | {
      readonly kind: "registration";
      readonly status: 429 | 503;
      readonly times: number;
      readonly retryAfterSeconds: number;
    };
}

/** Something is wrong between a replica and the API server. */
export interface ApiTrouble {
  readonly kind: "api";
  readonly role: Role;
  readonly fault:
    | WayFault
    | { readonly kind: "answers"; readonly fault: ApiFault }
    | { readonly kind: "hang"; readonly verb: string; readonly times: number; readonly ms: number }
    | { readonly kind: "watches"; readonly how: "end" | "expire" | "silence" };
}

/** The API server itself stands still for a time. */
export interface FreezeServer {
  readonly kind: "server";
  readonly ms: number;
}

/** An administrator deletes something of a session behind the agent's back. */
export interface Deletion {
  readonly kind: "administrator";
  readonly sessionId: string;
  readonly target: "pod" | "deployment" | "session";
}

/** One thing that happens. */
export type ChaosEvent =
  | GiveCommands
  | RepeatCommand
  | EndReplica
  | FreezeReplica
  | LinkTrouble
  | ApiTrouble
  | FreezeServer
  | Deletion;

/** An event and its time, in milliseconds from the start of the run. */
export interface TimedEvent {
  readonly atMs: number;
  readonly event: ChaosEvent;
}

/** An event in a few words. */
export function describeEvent(event: ChaosEvent): string {
  switch (event.kind) {
    case "commands": {
      const words = event.commands.map(({ commandId, action, sessionId }) =>
        `${commandId} ${action} ${sessionId}`
      );
      return `${words.join(", ")}${event.isJoined && words.length > 1 ? " in one frame" : ""}`;
    }
    case "repeat":
      return "repeat a command that is not answered yet";
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
