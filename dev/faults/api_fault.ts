/**
 * What can be wrong with an answer of the API, and which requests meet it.
 * @module
 */
import type { RequestAttributes } from "../../lib/kubernetes/requests.ts";

/** What becomes of the next requests that match. */
export type ApiFault = Refusal | LostAnswer | Hang | LateAnswer;

/** Which requests a fault is for. */
export interface FaultMatch {
  /** Such as `create` or `watch`. @default any */
  readonly verb?: string;
  /** Such as `deployments`. @default any */
  readonly resource?: string;
  /** How many requests; `Infinity` for all until the faults are cleared. @default {1} */
  readonly times?: number;
}

/** They are answered with a `Status`, and the server never hears of them. */
export interface Refusal extends FaultMatch {
  readonly kind: "status";
  /** The HTTP status. */
  readonly code: number;
  /** Sent with the answer, such as `Retry-After`. @default none */
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The server carries them out, but the connection breaks: who asked cannot know whether it was done. An HTTP client that
 * takes the connection for a stale one may ask again by itself; a begun answer keeps it from that.
 */
export interface LostAnswer extends FaultMatch {
  readonly kind: "lost-answer";
  /** Whether the status line and headers still arrive, and only the body is lost. @default {false} */
  readonly isBegun?: boolean;
}

/**
 * They get no answer until the faults are cleared. Only then the server hears of them, and only of those whose client
 * still waits.
 */
export interface Hang extends FaultMatch {
  readonly kind: "hang";
}

/** The server carries them out at once, and the answer is held back. */
export interface LateAnswer extends FaultMatch {
  readonly kind: "delay";
  /** Milliseconds. */
  readonly ms: number;
}

/** The faults to come, in order. */
export class ApiFaults {
  #pending: Array<{ readonly fault: ApiFault; left: number }> = [];
  #clearing = new AbortController();

  /** Aborted when the faults that are there now are cleared. */
  get cleared(): AbortSignal {
    return this.#clearing.signal;
  }

  add(fault: ApiFault): void {
    this.#pending.push({ fault, left: fault.times ?? 1 });
  }

  /** The first fault that is for a request, if there is one; it is then used up by one. */
  take({ verb, resource }: RequestAttributes): ApiFault | undefined {
    const entry = this.#pending.find(({ fault }) =>
      (fault.verb ?? verb) === verb && (fault.resource ?? resource) === resource
    );
    if (!entry) return undefined;
    entry.left -= 1;
    this.#pending = this.#pending.filter(({ left }) => left > 0);
    return entry.fault;
  }

  /** Forgets all, and lets go of what they hold back. */
  clear(): void {
    this.#pending = [];
    this.#clearing.abort();
    this.#clearing = new AbortController();
  }
}
