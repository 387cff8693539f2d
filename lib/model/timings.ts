/**
 * The agent's fixed times: timeouts, leases and delays that are not options. Each component takes the ones that it needs; tests that run the
 * agent in their own process pass shorter ones to `run()`.
 * @module
 */

/** Durations in milliseconds. */
export interface Timings {
  /** How long a lease is valid after its last renewal. */
  readonly leaseMs: number;
  /** How long the leader retries a failed renewal before it stops leading; less than `leaseMs`. */
  readonly renewDeadlineMs: number;
  /** Delay between two renewals; a standby replica reads the lease twice as often. */
  readonly retryPeriodMs: number;
  /** Longest wait at startup for the state of the cluster and of the previous process before commands are accepted. */
  readonly recoveryMs: number;
  /** How long a stopping agent keeps the link open at least, to reject commands that are still in transit. */
  readonly lateCommandsMs: number;
  /** Longest wait for cancelled commands to clean up. */
  readonly cancelMs: number;
  /**
   * Longest wait for a write of the journal before a command goes on without it. Ignored with leader election, where commands always wait.
   */
  readonly journalWriteMs: number;
  /** Longest wait for the journal's last write when the agent ends. */
  readonly journalFlushMs: number;
}

/** The times of an agent in production. */
export const DEFAULT_TIMINGS: Timings = {
  leaseMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2000,
  recoveryMs: 5000,
  lateCommandsMs: 300,
  cancelMs: 3000,
  journalWriteMs: 5000,
  journalFlushMs: 2000,
};
