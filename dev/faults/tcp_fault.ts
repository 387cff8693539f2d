/**
 * Faults of TCP connections.
 * @module
 */

/** How a {@linkcode TcpProxy} treats connections, open and new. */
export type TcpFault = Pass | Delay | Throttle | HalfOpen | Refuse;

/** No fault. */
export interface Pass {
  readonly kind: "pass";
}

/** Each chunk arrives late in both directions. The order is kept, and the delays overlap. */
export interface Delay {
  readonly kind: "delay";
  /** Milliseconds. */
  readonly ms: number;
}

/** Each direction is slow, and is read no faster than it is forwarded, so that the sender gets back-pressure. */
export interface Throttle {
  readonly kind: "throttle";
  readonly bytesPerSecond: number;
}

/**
 * Connections stay open, but nothing passes, not even their end, as after a middlebox lost its state. They stay half-open in every
 * later mode. Unlike with lost packets, the operating system still accepts data of a peer until its buffers are full.
 */
export interface HalfOpen {
  readonly kind: "half-open";
  /** Whether new connections are half-open, too. @default {false} */
  readonly includesNew?: boolean;
}

/** New connections are closed immediately; open ones pass. */
export interface Refuse {
  readonly kind: "refuse";
}
