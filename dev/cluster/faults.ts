/**
 * Faults on demand: answers that the next matching requests get instead of their own.
 * @module
 */
import { ApiError, usualReason } from "./api_error.ts";

/** A failure to come. */
export interface Fault {
  /** Such as `create`. @default any */
  readonly verb?: string;
  /** Such as `pods` or `deployments/scale`. @default any */
  readonly resource?: string;
  /** The HTTP status. */
  readonly status: number;
  /** The reason in the `Status`. @default the usual one for the HTTP status */
  readonly reason?: string;
  /** The message in the `Status`. @default a text that says it is simulated */
  readonly message?: string;
  /** How many requests fail. @default {1} */
  readonly times?: number;
  /** Sent with the answer, such as `retry-after`. @default none */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The failures to come, in order. */
export class Faults {
  #pending: { fault: Fault; left: number }[] = [];

  /** Lets the next matching requests fail. */
  add(fault: Fault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  /** The answer of the first fault that matches, if there is one. */
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
