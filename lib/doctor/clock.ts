/**
 * Whether another machine's clock and this one agree. Pure.
 * @module
 */
import { formatDuration } from "../common/quantities.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";

const WARN_MS = 5000;
const FAIL_MS = 60_000;
/** A `Date` header leaves fractions of its second out. */
const HALF_SECOND_MS = 500;

/** When a request was sent and answered by our clock, in milliseconds since 1970, and what the answer's `Date` header says. */
export interface DatedAnswer {
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly date: string | undefined;
}

/** Judges a clock; `whose` begins the sentence, such as `The API server's clock`. */
export function judgeClock(check: CheckName, whose: string, answer: DatedAnswer): Finding {
  const findings = new Findings(check);
  const theirs = Date.parse(answer.date ?? "");
  if (Number.isNaN(theirs)) return findings.skip(`${whose} is not known`, "its answer has no Date header");
  const aheadMs = theirs + HALF_SECOND_MS - (answer.sentAt + answer.answeredAt) / 2;
  const awayMs = Math.abs(aheadMs);
  if (awayMs <= WARN_MS) return findings.ok(`${whose} and this machine's agree`);
  const message = `${whose} is ${formatDuration(awayMs)} ${
    aheadMs > 0 ? "ahead of" : "behind"
  } this machine's`;
  const advice = "set both by NTP: certificates, tokens and timestamps are judged by them";
  return awayMs > FAIL_MS ? findings.fail(message, advice) : findings.warn(message, advice);
}
