/**
 * Candidates for one lease, with fake time.
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  LeaderElection,
  type Leadership,
  type LeadershipStatus,
} from "../../lib/kubernetes/leader_election.ts";
import { type FakeConnection, FakeLeases } from "./fake_leases.ts";
import { FakeTime } from "./fake_time.ts";
import { FixedRandom } from "./fixed_random.ts";
import { LogCapture } from "./log_capture.ts";

/** Default timing of an election. */
export const LEASE_MS = 15_000;
export const RENEW_DEADLINE_MS = 10_000;
export const RETRY_MS = 2000;

/** An election without jitter; disposing it checks that no timer is left. */
export class Campaign implements AsyncDisposable {
  readonly time = new FakeTime(Date.UTC(2030, 0, 1));
  readonly logs = new LogCapture();
  readonly leases = new FakeLeases();
  readonly #random = new FixedRandom(0);
  readonly #stop = new AbortController();
  readonly #leaderships: Leadership[] = [];

  /** Adds a candidate, which makes its first attempt. */
  async enter(identity: string): Promise<Candidate> {
    const connection = this.leases.connection();
    const ticks: LeadershipStatus[] = [];
    const onTick = (status: LeadershipStatus) => void ticks.push(status);
    const election = new LeaderElection({ leases: connection, name: "agent", identity, onTick });
    const candidate: Candidate = { election, connection, ticks, leadership: undefined };
    election.acquire(this.#stop.signal).then((leadership) => {
      this.#leaderships.push(leadership);
      candidate.leadership = leadership;
    }, () => {});
    await this.time.tickAsync(0);
    return candidate;
  }

  /** Number of log lines that contain a text. */
  logged(text: string): number {
    return this.logs.lines.filter((line) => line.includes(text)).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    const ends = this.#leaderships.map((leadership) => leadership[Symbol.asyncDispose]());
    // Releasing waits for a hanging write until its timeout.
    await this.time.tickAsync(RENEW_DEADLINE_MS);
    await Promise.all(ends);
    assertEquals(this.time.pending, []);
    this.#random[Symbol.dispose]();
    this.logs[Symbol.dispose]();
    this.time[Symbol.dispose]();
  }
}

/** One candidate, its connection to the lease, and its leadership once it has it. */
export interface Candidate {
  readonly election: LeaderElection;
  readonly connection: FakeConnection;
  /** Status at each iteration of its loop. */
  readonly ticks: readonly LeadershipStatus[];
  leadership: Leadership | undefined;
}

/** Whether a candidate is the leader. */
export function leads(candidate: Candidate): boolean {
  return candidate.leadership?.lost.aborted === false;
}
