/**
 * Whether the agent is alive, and whether it can do its work: signs of life go in, a verdict with the reason of each part comes out. The
 * reasons are words of this file alone, so that nothing of a configuration or an answer can be read in them. Pure.
 * @module
 */
import type { LinkState } from "../control_plane/link.ts";
import type { Standing } from "../kubernetes/leader_election.ts";
import { formatDuration } from "../common/quantities.ts";

/** One thing that was looked at. */
export interface Check {
  readonly ok: boolean;
  readonly reason: string;
}

/** What came of all checks; it is as good as the worst. */
export interface Report {
  readonly ok: boolean;
  readonly checks: Readonly<Record<string, Check>>;
}

/** What is looked at. */
export interface Signs {
  readonly standing: Standing | "alone";
  /** Milliseconds since the election's loop last came round. */
  readonly sinceTurnMs: number;
  readonly link: LinkState | undefined;
  /** Resources of which the view may be old. */
  readonly unsynced: readonly string[];
  readonly isStopping: boolean;
}

/** Each request for the lease may take 5 seconds, and a turn makes two or three. */
const TURN_PATIENCE_MS = 30_000;

const LINK_WORDS: Readonly<Record<LinkState, string>> = {
  registering: "it registers with the Control Plane",
  pending: "an administrator of the Control Plane has to approve this agent",
  rejected: "an administrator of the Control Plane rejected this agent",
  connecting: "it connects to the Control Plane",
  up: "the link is up",
  waiting: "the Control Plane cannot be reached: it waits to try again, see the log",
};

/** Whether the process has to be restarted. That it answers at all shows that its event loop turns. */
export function liveness({ standing, sinceTurnMs }: Signs): Report {
  const isLate = standing !== "alone" && sinceTurnMs > TURN_PATIENCE_MS;
  const ago = formatDuration(sinceTurnMs);
  const turns = isLate ? `it has not come round for ${ago}` : `it came round ${ago} ago`;
  return reportOf({
    eventLoop: { ok: true, reason: "it turns" },
    leaseLoop: { ok: !isLate, reason: standing === "alone" ? "there is no leader election" : turns },
  });
}

/** Whether the agent works, or would at once if the leader ended. */
export function readiness(signs: Signs): Report {
  const { standing, link, unsynced, isStopping } = signs;
  const leadership = { ok: standing !== "unknown", reason: STANDING_WORDS[standing] };
  const commands = { ok: !isStopping, reason: isStopping ? "it is stopping" : "it is not stopping" };
  if (standing === "standing_by") {
    const idle = { ok: true, reason: "it stands by" };
    return reportOf({ leadership, registered: idle, link: idle, watches: idle, commands });
  }
  const words = link ? LINK_WORDS[link] : "it has not begun to connect";
  const isRegistered = link === "connecting" || link === "up";
  return reportOf({
    leadership,
    registered: { ok: isRegistered, reason: isRegistered ? "it is registered" : words },
    link: { ok: link === "up", reason: words },
    watches: {
      ok: unsynced.length === 0,
      reason: unsynced.length === 0 ? "all are in sync" : `not in sync: ${unsynced.join(", ")}`,
    },
    commands,
  });
}

const STANDING_WORDS: Readonly<Record<Standing | "alone", string>> = {
  alone: "there is no leader election",
  leading: "it leads",
  standing_by: "it stands by for the leader",
  unknown: "it is unknown who leads, see the log",
};

function reportOf(checks: Readonly<Record<string, Check>>): Report {
  return { ok: Object.values(checks).every(({ ok }) => ok), checks };
}
