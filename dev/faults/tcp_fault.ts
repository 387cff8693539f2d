/**
 * What can be wrong with a TCP connection on its way.
 * @module
 */

/** How a {@linkcode TcpProxy} treats connections, open and new. */
export type TcpFault = Pass | Delay | Throttle | HalfOpen | Refuse;

/** Nothing is wrong. */
export interface Pass {
  readonly kind: "pass";
}

/** Each chunk arrives late, in both directions; the order is kept, and chunks wait side by side. */
export interface Delay {
  readonly kind: "delay";
  /** Milliseconds. */
  readonly ms: number;
}

/** Each direction is slow, and is read no faster than it is forwarded, so that the sender comes to feel it. */
export interface Throttle {
  readonly kind: "throttle";
  readonly bytesPerSecond: number;
}

/**
 * Connections stay open but nothing passes any more, not even their end, as by a middlebox that lost its state. What was
 * frozen so stays frozen in every later mode. Unlike with lost packets, the operating system still takes what a peer
 * sends, until its buffers are full.
 */
export interface HalfOpen {
  readonly kind: "half-open";
  /** New connections are accepted and never answered; otherwise they pass. @default {false} */
  readonly includesNew?: boolean;
}

/** New connections are accepted and closed at once; open ones pass. */
export interface Refuse {
  readonly kind: "refuse";
}
