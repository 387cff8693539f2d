/**
 * How the agent stands right now, as its parts tell it: in the election, with the Control Plane, and in its view of the cluster.
 * @module
 */
import type { LinkState } from "../control_plane/link.ts";
import type { Standing } from "../kubernetes/leader_election.ts";
import type { WatchObserver } from "../kubernetes/watch.ts";

/** What was last heard of one watch. */
export interface WatchVital {
  readonly isOpen: boolean;
  /** Milliseconds since 1970; 0 for never. */
  readonly heardAt: number;
}

const SILENT: WatchVital = { isOpen: false, heardAt: 0 };

/** The signs of life. */
export class Vitals implements WatchObserver {
  readonly #watches = new Map<string, WatchVital>();
  #standing: Standing | "alone";
  #turnedAt = performance.now();
  #link: LinkState | undefined;

  /** @param hasElection whether there are other replicas to stand by for */
  constructor(hasElection: boolean) {
    this.#standing = hasElection ? "unknown" : "alone";
  }

  /** In the election; `alone` without one. */
  get standing(): Standing | "alone" {
    return this.#standing;
  }

  /** Milliseconds since the election's loop last came round. */
  get sinceTurnMs(): number {
    return performance.now() - this.#turnedAt;
  }

  /** Where the link is; `undefined` before there was to be one. */
  get link(): LinkState | undefined {
    return this.#link;
  }

  /** What is known of a watch. */
  watch(resource: string): WatchVital {
    return this.#watches.get(resource) ?? SILENT;
  }

  /** The election's loop came round. */
  turned(standing: Standing): void {
    this.#standing = standing;
    this.#turnedAt = performance.now();
  }

  /** The link took a step. */
  entered(state: LinkState): void {
    this.#link = state;
  }

  heard(resource: string): void {
    this.#watches.set(resource, { isOpen: true, heardAt: Date.now() });
  }

  broke(resource: string): void {
    this.#watches.set(resource, { ...this.watch(resource), isOpen: false });
  }
}
