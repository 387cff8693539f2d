/**
 * The tables at the end of a run. Pure.
 * @module
 */
import { markdownTable } from "../bench/statistics.ts";
import type { Footprint, Sample } from "./footprint.ts";
import { type CommandRecord, isReceived } from "./history.ts";
import type { Counts } from "./performer.ts";
import type { StreamCounts } from "./stream_probe.ts";

/** The contents of a report. */
export interface ReportFacts {
  readonly seed: number;
  readonly durationMs: number;
  readonly cluster: string;
  readonly agent: string;
  readonly counts: Counts;
  readonly streams: StreamCounts;
  readonly records: readonly CommandRecord[];
  readonly failovers: number;
  readonly violations: number;
  readonly excused: number;
  readonly before: Footprint | undefined;
  readonly after: Footprint | undefined;
}

/** The facts as a Markdown table. */
export function reportTable(facts: ReportFacts): string {
  const { counts, streams, records, before, after } = facts;
  const received = records.filter(isReceived);
  const answered = (type: string) =>
    String(received.filter(({ answers }) => answers[0]?.type === type).length);
  const waits = received.flatMap(({ sentAt, ackedAt, answers: [answer] }) =>
    answer ? [answer.at - (ackedAt ?? sentAt)] : []
  );
  const change = (key: keyof Footprint) => `${before?.[key] ?? "?"} / ${after?.[key] ?? "?"}`;
  return markdownTable(["what", "value"], [
    ["seed", String(facts.seed)],
    ["duration", `${facts.durationMs / 1000} s`],
    ["API server", facts.cluster],
    ["agent", facts.agent],
    ["commands sent", String(records.length)],
    ["commands received", String(received.length)],
    ["complete", answered("complete")],
    ["failed", answered("failed")],
    ["repeated", String(counts.repeated)],
    ["skipped events", String(counts.skipped)],
    ["kills", String(counts.kills)],
    ["terminations", String(counts.terminations)],
    ["freezes of an agent", String(counts.freezes)],
    ["freezes of the API server", String(counts.serverFreezes)],
    ["link faults", String(counts.linkFaults)],
    ["API faults", String(counts.apiFaults)],
    ["deletions by an administrator", String(counts.deletions)],
    ["failovers", String(facts.failovers)],
    ["longest time from receipt to result", `${(Math.max(0, ...waits) / 1000).toFixed(1)} s`],
    ["streams opened", String(streams.opened)],
    ["ended or rejected", [...streams.codes].map(([code, count]) => `${code} ${count}`).sort().join(", ")],
    ["bytes checked", `${(streams.bytes / 1e6).toFixed(0)} MB`],
    ["open files fresh / after", change("openFiles")],
    ["memory fresh / after", `${change("memoryMb")} MB`],
    ["anonymous memory fresh / after", `${change("anonymousMb")} MB`],
    ["violations", String(facts.violations)],
    ["excused", String(facts.excused)],
  ]);
}

/** The footprints during a run as a Markdown table. The number in the name of a process increases with each restart of its replica. */
export function footprintTable(samples: readonly Sample[]): string {
  return markdownTable(
    ["minute", "leader", "anonymous memory", "open files"],
    samples.map(({ atMs, leader }) => [
      (atMs / 60_000).toFixed(1),
      leader?.name ?? "none",
      leader ? `${leader.usage.anonymousMb} MB` : "",
      leader ? String(leader.usage.openFiles) : "",
    ]),
  );
}
