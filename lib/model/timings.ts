/**
 * The agent's fixed times: timeouts, leases and delays that are not options. Each component takes the ones that it needs; tests that run the
 * agent in their own process pass shorter ones to `run()`.
 * @module
 */

/** Time for a start once an autoscaler adds a node: cloud nodes take one to three minutes, and the image is pulled after that. */
export const SCALE_UP_EXTENSION_MS = 300_000;

/** Durations in milliseconds. */
export interface Timings {
  /** How long a lease is valid after its last renewal. */
  readonly leaseMs: number;
  /** How long the leader retries a failed renewal before it stops leading; less than `leaseMs`. */
  readonly renewDeadlineMs: number;
  /** Delay between two renewals; a standby replica reads the lease twice as often. */
  readonly retryPeriodMs: number;
  /** Timeout of one attempt at a request to the Kubernetes API. */
  readonly requestTimeoutMs: number;
  /** Longest pause before a failed request is retried; it doubles with each further attempt, up to `maxRequestRetryMs`. */
  readonly requestRetryMs: number;
  readonly maxRequestRetryMs: number;
  /** Timeout for opening a watch. */
  readonly watchOpenTimeoutMs: number;
  /** Time after which the API server ends each watch; the next one continues from there. */
  readonly watchLifetimeMs: number;
  /** Time without data after which the connection of a watch is considered half-open; longer than `watchLifetimeMs`. */
  readonly watchSilenceMs: number;
  /** Longest pause before a failed watch is retried; it doubles with each further failure, up to `maxWatchRetryMs`. */
  readonly watchRetryMs: number;
  readonly maxWatchRetryMs: number;
  /** Pause before a custom kind that is not installed or forbidden is looked up again. */
  readonly kindRecheckMs: number;
  /** Longest wait for the objects of a custom kind while the API server fails. */
  readonly kindSyncTimeoutMs: number;
  /** Longest wait at startup for the state of the cluster and of the previous process before commands are accepted. */
  readonly recoveryMs: number;
  /** How long a stopping agent keeps the link open at least, to receive commands that are still in transit. */
  readonly lateCommandsMs: number;
  /**
   * How long after its command arrived a result is sent at the earliest. The Control Plane records that it sent a command only after sending it,
   * and would overwrite a result that arrived before.
   */
  readonly resultHoldMs: number;
  /** Delay of the startup checks, so that the agent registers and loads the state of the cluster first. */
  readonly startupChecksDelayMs: number;
  /** Longest wait for cancelled commands to clean up. */
  readonly cancelMs: number;
  /**
   * Longest wait for a write of the journal before a command goes on without it. Ignored with leader election, where commands always wait.
   */
  readonly journalWriteMs: number;
  /**
   * How long commands that arrive together are collected before the journal is written, as the others would have to wait for a second write; up to
   * five times as long while they keep arriving.
   */
  readonly journalCollectMs: number;
  /** How long changes of the journal that nobody waits for are collected before they are written. */
  readonly journalGroupMs: number;
  /** Time between two checks whether sessions changed without a command, which the journal has to record. */
  readonly journalRefreshMs: number;
  /** Delay before the journal is written again after Kubernetes rejected a write. */
  readonly journalRejectedRetryMs: number;
  /** Longest wait for the journal's last write when the agent ends. */
  readonly journalFlushMs: number;
  /** Longest wait for a session's pods and volumes to be released or deleted. */
  readonly terminationTimeoutMs: number;
  /** Longest wait of a repair for an object that is being deleted: the commands of the session wait for the repair. */
  readonly repairTimeoutMs: number;
  /** Longest wait for the objects of a failed start to be deleted. */
  readonly rollBackTimeoutMs: number;
  /** Time between two reads of an object that no watch covers. */
  readonly pollIntervalMs: number;
  /** Shortest time between two progress reports of a session. */
  readonly progressIntervalMs: number;
  /** Shortest time that a resumed start has left, however long ago it began. */
  readonly minRemainingMs: number;
  /** Factor on the grace periods of failure causes; not a duration. */
  readonly graceFactor: number;
  /** Time between two checks of the home volumes for their retention. */
  readonly homeCheckMs: number;
  /** How long a running session may be unready before that is reported. */
  readonly unreadyGraceMs: number;
  /** Shortest time between two reports of the use of a session, and the time after which it is reported again while a stream is open. */
  readonly activityMs: number;
  /** Changes of a session within this time are written to its Session object together. */
  readonly sessionObjectBatchMs: number;
  /** Pause before the first reconnect; it doubles with each further one, to 16 times as long at most. */
  readonly reconnectMs: number;
  /** A connection that was up for this long resets the back-off; the Control Plane closes some earlier, as part of its cleanup. */
  readonly stableLinkMs: number;
  /**
   * Time after which a silent connection to the Control Plane counts as half-open. Well below the 45 seconds after which the Control Plane drops
   * a silent agent.
   */
  readonly linkSilenceMs: number;
  /** A connection that ends within this time is retried once without a pause: the Control Plane closes some as part of its cleanup. */
  readonly earlyCloseMs: number;
  /** Delay between two registrations while an administrator's approval is pending: first the short one, for as long as `earlyApprovalMs`. */
  readonly firstApprovalMs: number;
  readonly earlyApprovalMs: number;
  readonly approvalMs: number;
}

/** The times of an agent in production. */
export const DEFAULT_TIMINGS: Timings = {
  leaseMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2000,
  requestTimeoutMs: 10_000,
  requestRetryMs: 100,
  maxRequestRetryMs: 5000,
  watchOpenTimeoutMs: 15_000,
  watchLifetimeMs: 30_000,
  watchSilenceMs: 40_000,
  watchRetryMs: 500,
  maxWatchRetryMs: 10_000,
  kindRecheckMs: 60_000,
  kindSyncTimeoutMs: 5000,
  recoveryMs: 5000,
  lateCommandsMs: 300,
  resultHoldMs: 200,
  startupChecksDelayMs: 2000,
  cancelMs: 3000,
  journalWriteMs: 5000,
  journalCollectMs: 2,
  journalGroupMs: 1000,
  journalRefreshMs: 30_000,
  journalRejectedRetryMs: 30_000,
  journalFlushMs: 2000,
  terminationTimeoutMs: 120_000,
  repairTimeoutMs: 2000,
  rollBackTimeoutMs: 5000,
  pollIntervalMs: 1000,
  progressIntervalMs: 1000,
  minRemainingMs: 30_000,
  graceFactor: 1,
  homeCheckMs: 60_000,
  unreadyGraceMs: 2000,
  activityMs: 60_000,
  sessionObjectBatchMs: 500,
  reconnectMs: 2000,
  stableLinkMs: 30_000,
  linkSilenceMs: 30_000,
  earlyCloseMs: 1000,
  firstApprovalMs: 5000,
  earlyApprovalMs: 120_000,
  approvalMs: 30_000,
};
