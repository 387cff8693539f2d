/**
 * Candidates for one lease, in time that stands still.
 * @module
 */
import { assertEquals } from "@std/assert";
import { LeaderElection, type Leadership, type Standing } from "../../lib/kubernetes/leader_election.ts";
import { type FakeConnection, FakeLeases } from "./fake_leases.ts";
import { FakeTime } from "./fake_time.ts";
import { FixedRandom } from "./fixed_random.ts";
import { LogCapture } from "./log_capture.ts";

/** The timing that an election has unless it is told another. */
export const LEASE_MS = 15_000;
export const RENEW_DEADLINE_MS = 10_000;
export const RETRY_MS = 2000;

/** A campaign in which chance adds nothing to waits; its end checks that no timer is left. */
export class Campaign implements AsyncDisposable {
  readonly time = new FakeTime(Date.UTC(2030, 0, 1));
  readonly logs = new LogCapture();
  readonly leases = new FakeLeases();
  readonly #random = new FixedRandom(0);
  readonly #stop = new AbortController();
  readonly #leaderships: Leadership[] = [];

  /** Lets a candidate come and make its first attempt. */
  async enter(identity: string): Promise<Candidate> {
    const connection = this.leases.connection();
    const turns: Standing[] = [];
    const onTurn = (standing: Standing) => void turns.push(standing);
    const election = new LeaderElection({ leases: connection, name: "agent", identity, onTurn });
    const candidate: Candidate = { election, connection, turns, leadership: undefined };
    election.acquire(this.#stop.signal).then((leadership) => {
      this.#leaderships.push(leadership);
      candidate.leadership = leadership;
    }, () => {});
    await this.time.tickAsync(0);
    return candidate;
  }

  /** How many log lines hold a text. */
  told(text: string): number {
    return this.logs.lines.filter((line) => line.includes(text)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    const ends = this.#leaderships.map((leadership) => leadership[Symbol.asyncDispose]());
    // A write that hangs is waited for, for its own time.
    await this.time.tickAsync(RENEW_DEADLINE_MS);
    await Promise.all(ends);
    assertEquals(this.time.pending, []);
    this.#random[Symbol.dispose]();
    this.logs[Symbol.dispose]();
    this.time[Symbol.dispose]();
  }
}

/** One candidate, its way to the lease, and its leadership once it has it. */
export interface Candidate {
  readonly election: LeaderElection;
  readonly connection: FakeConnection;
  /** What it was told at each turn of its loop. */
  readonly turns: readonly Standing[];
  leadership: Leadership | undefined;
}

/** Whether a candidate leads now. */
export function leads(candidate: Candidate): boolean {
  return candidate.leadership?.lost.aborted === false;
}
