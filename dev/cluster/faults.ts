/**
 * Injected faults: error responses for the next matching requests.
 * @module
 */
import { ApiError, usualReason } from "./api_error.ts";

/** An injected fault. */
export interface Fault {
  /** For example `create`. @default any */
  readonly verb?: string;
  /** For example `pods` or `deployments/scale`. @default any */
  readonly resource?: string;
  /** The HTTP status. */
  readonly status: number;
  /** Reason of the `Status`. @default the usual one for the HTTP status */
  readonly reason?: string;
  /** Message of the `Status`. @default a message that states that the fault is simulated */
  readonly message?: string;
  /** Number of requests that fail. @default {1} */
  readonly times?: number;
  /** Headers of the response, such as `retry-after`. @default none */
  readonly headers?: Readonly<Record<string, string>>;
}

/** Pending faults, in order. */
export class Faults {
  #pending: { fault: Fault; left: number }[] = [];

  /** Makes the next matching requests fail. */
  add(fault: Fault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  /** Takes the response of the first fault that matches, if there is one. */
  take({ verb, resource }: { verb: string; resource: string }): Response | undefined {
    const entry = this.#pending.find(({ fault }) =>
      (fault.verb ?? verb) === verb && (fault.resource ?? resource) === resource
    );
    if (!entry) return undefined;
    entry.left--;
    this.#pending = this.#pending.filter(({ left }) => left > 0);
    const {
      status,
      headers,
      reason = usualReason(status),
      message = `simulated failure: ${reason}`,
    } = entry.fault;
    return Response.json(new ApiError(status, reason, { message }).status, { status, headers });
  }
}
