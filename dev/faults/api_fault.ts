/**
 * Faults of API requests, and which requests they affect.
 * @module
 */
import type { RequestAttributes } from "../../lib/kubernetes/requests.ts";

/** A fault of the next matching requests. */
export type ApiFault = ErrorResponse | LostResponse | Hang | LateResponse;

/** The requests that a fault affects. */
export interface FaultMatch {
  /** Such as `create` or `watch`. @default any */
  readonly verb?: string;
  /** Such as `deployments`. @default any */
  readonly resource?: string;
  /** Number of requests; `Infinity` for all until the faults are cleared. @default {1} */
  readonly times?: number;
}

/** The proxy answers with a `Status`; the server does not receive the request. */
export interface ErrorResponse extends FaultMatch {
  readonly kind: "status";
  /** The HTTP status. */
  readonly code: number;
  /** Headers of the response, such as `Retry-After`. @default none */
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The server executes the request, but the connection breaks, so that the client does not know the outcome. An HTTP client may
 * repeat a request on a connection that it considers stale; a partial response prevents that.
 */
export interface LostResponse extends FaultMatch {
  readonly kind: "lost-answer";
  /** Whether the status line and the headers still arrive. @default {false} */
  readonly isBegun?: boolean;
}

/**
 * The request gets no response until the faults are cleared. Then it is forwarded if the client still waits.
 */
export interface Hang extends FaultMatch {
  readonly kind: "hang";
}

/** The server executes the request immediately, and the response is delayed. */
export interface LateResponse extends FaultMatch {
  readonly kind: "delay";
  /** Milliseconds. */
  readonly ms: number;
}

/** The pending faults in their order. */
export class ApiFaults {
  #pending: Array<{ readonly fault: ApiFault; left: number }> = [];
  #clearing = new AbortController();

  /** Aborted when the current faults are cleared. */
  get cleared(): AbortSignal {
    return this.#clearing.signal;
  }

  add(fault: ApiFault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  /** The first fault that matches a request, if any; counts the request. */
  take({ verb, resource }: RequestAttributes): ApiFault | undefined {
    const entry = this.#pending.find(({ fault }) =>
      (fault.verb ?? verb) === verb && (fault.resource ?? resource) === resource
    );
    if (!entry) return undefined;
    entry.left -= 1;
    this.#pending = this.#pending.filter(({ left }) => left > 0);
    return entry.fault;
  }

  /** Removes all faults and releases the delayed requests. */
  clear(): void {
    this.#pending = [];
    this.#clearing.abort();
    this.#clearing = new AbortController();
  }
}
