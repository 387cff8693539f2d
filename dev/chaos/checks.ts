/**
 * The checks of a run: compares the messages, the objects in the cluster and the logs of the agents with what the agent guarantees. Pure.
 * @module
 */
import { canonical } from "../control_plane/command_log.ts";
import type { SessionParts } from "./administrator.ts";
import { type Answer, type CommandRecord, type History, isReceived } from "./history.ts";
import type { Logbook } from "./logbook.ts";
import { describeState, type Expectation, expectSession, type SessionState } from "./model.ts";
import { describeParts, observe } from "./observed.ts";
import { SESSION_IDS } from "./planned_commands.ts";

/** A violated guarantee. */
export interface Violation {
  readonly text: string;
  /** Whether waiting cannot resolve it. */
  readonly isFinal?: boolean;
  /** The command or session that it is about. */
  readonly commandId?: string;
  readonly sessionId?: string;
}

/** The input of the checks. */
export interface Evidence {
  readonly history: History;
  readonly logbook: Logbook;
  /** Protocol violations that the Control Plane detected. */
  readonly problems: readonly string[];
  readonly sessions: ReadonlyMap<string, SessionParts>;
  /** When watches were stalled, in milliseconds since 1970. */
  readonly stalledAt: readonly number[];
}

/** The result of the checks. */
export interface Findings {
  readonly violations: readonly Violation[];
  /** Violations that the injected faults explain, one sentence each. */
  readonly excused: readonly string[];
}

/** How long a cache may be stale, in milliseconds: a stalled watch is detected after 40 s, other faults delay it by a few seconds. */
const STALE_MS = 20_000;
const STALLED_MS = 50_000;

/** Checks the results of commands, the objects in the cluster and the reported statuses. */
export function check(evidence: Evidence): Findings {
  const records = evidence.history.records();
  const excused: string[] = [];
  const violations = [
    ...checkAnswers(records, { evidence, excused }),
    ...checkProblems(evidence, excused),
    ...SESSION_IDS.flatMap((sessionId) => checkSession(sessionId, { records, evidence })),
    ...evidence.logbook.workWithoutLease().map((text) => ({
      text: `Two replicas worked at the same time: ${text}`,
      isFinal: true,
    })),
    ...evidence.logbook.unexpectedExits().map((text) => ({
      text: `An agent crashed: ${text}`,
      isFinal: true,
    })),
  ];
  return { violations, excused };
}

/** Received commands without a result. */
export function unanswered(history: History): CommandRecord[] {
  return history.records().filter((record) => isReceived(record) && record.answers.length === 0);
}

function checkAnswers(
  records: readonly CommandRecord[],
  { evidence, excused }: { evidence: Evidence; excused: string[] },
): Violation[] {
  return records.filter(isReceived).flatMap(({ command: { commandId, action, sessionId }, answers }) => {
    const different = new Set(answers.map(({ type, text }) => `${type} ${canonical(JSON.parse(text))}`));
    if (different.size === 1) return [];
    const text = different.size === 0
      ? `Command ${commandId} (${action}) was acknowledged, but has no result`
      : `Command ${commandId} (${action}) has ${different.size} different results: ${
        [...different].join(" and ")
      }`;
    const excuse = excuseFor({ commandId, sessionId, answers }, evidence);
    if (excuse === undefined) return [{ text, commandId, isFinal: different.size > 0 }];
    excused.push(`${text}; ${excuse}`);
    return [];
  });
}

/** Deletions after which a session gets another pod. */
const POD_TARGETS = ["pod", "replicaset"] as const;

/** Why a command may have two results. */
function excuseFor(
  { commandId, sessionId, answers }: Pick<CommandRecord, "answers"> & {
    commandId: string;
    sessionId: string;
  },
  { logbook, history }: Evidence,
): string | undefined {
  const [first] = answers;
  const other = answers.find(({ text }) => text !== first?.text);
  if (!first || !other || logbook.processesWith(commandId) < 2) return undefined;
  // Until the next write of the journal, only the objects of a session show that its start completed.
  const deleted = history.deletions.filter((deletion) =>
    deletion.sessionId === sessionId && deletion.to > first.at - 1000 && deletion.from < other.at
  ).map(({ target }) => target);
  if (deleted.includes("session")) {
    return "the administrator deleted the objects that showed the result, and another process repeated the command";
  }
  const isPodReplaced = POD_TARGETS.some((target) => deleted.includes(target));
  return isPodReplaced && answers.every((answer) => isSameStart(answer, first))
    ? "the administrator deleted its pod, and another process reported the new one"
    : undefined;
}

/** Whether two results of a start differ in the pod only. */
function isSameStart(one: Pick<Answer, "type" | "text">, other: Pick<Answer, "type" | "text">): boolean {
  const [a, b] = [one, other].map(({ type, text }) => {
    const { podName: _name, podIP: _ip, nodeName: _node, ...rest } = JSON.parse(text);
    return `${type} ${canonical(rest)}`;
  });
  return one.type === "complete" && a === b;
}

function checkProblems({ problems }: Evidence, excused: string[]): Violation[] {
  return problems.flatMap((problem) => {
    const commandId = /Command "([cd]-\d+)"/.exec(problem)?.[1];
    if (/It sent nothing for/.test(problem)) {
      excused.push(`${problem}; its connection or the agent itself was frozen`);
      return [];
    }
    if (commandId && /second, different result/.test(problem)) {
      // Reported with both results by checkAnswers().
      return [];
    }
    const sessionId = /Session "([^"]+)"/.exec(problem)?.[1];
    return [{
      text: `The Control Plane detected a protocol violation: ${problem}`,
      isFinal: true,
      ...(commandId ? { commandId } : {}),
      ...(sessionId ? { sessionId } : {}),
    }];
  });
}

function checkSession(
  sessionId: string,
  { records, evidence }: { records: readonly CommandRecord[]; evidence: Evidence },
): Violation[] {
  const parts = evidence.sessions.get(sessionId) ?? { pods: [] };
  const expectation = expectationOf(sessionId, { records, evidence });
  const { states, mayHaveHome, contradictions } = expectation;
  const found = observe(parts);
  const texts: string[] = [];
  if (!states.some((state) => fits(found, state))) {
    const expected = states.map(describeState).join(" or ");
    texts.push(`Session ${sessionId} should be ${expected}, but has: ${describeParts(parts)}`);
  }
  if (parts.claim && !mayHaveHome) {
    texts.push(`The home volume of session ${sessionId} exists, but should be deleted`);
  }
  if (states.length === 1 || found.kind !== "other") {
    texts.push(...checkStatus(sessionId, { parts, found, evidence, isCertain: states.length === 1 }));
  }
  return [
    ...contradictions.map((text) => ({ text, sessionId, isFinal: true })),
    ...texts.map((text) => ({ text, sessionId })),
  ];
}

function expectationOf(
  sessionId: string,
  { records, evidence }: { records: readonly CommandRecord[]; evidence: Evidence },
): Expectation {
  const { history, logbook, stalledAt } = evidence;
  const commands = records.filter(({ command }) => command.sessionId === sessionId).map((record) => ({
    ...record,
    isAccepted: logbook.processesWith(record.command.commandId) > 0,
    hasLeftovers: logbook.hasLeftovers(sessionId, {
      from: record.sentAt,
      to: (record.answers[0]?.at ?? Infinity) + 1000,
    }),
  }));
  const deletions = history.deletions.filter((deletion) => deletion.sessionId === sessionId);
  const staleMs = ({ from, to }: { from: number; to: number }) =>
    stalledAt.some((at) => at > from - STALLED_MS && at < to + STALE_MS) ? STALLED_MS : STALE_MS;
  return expectSession(commands, { deletions, staleMs });
}

/** Checks whether the last reported status of a session is true. */
function checkStatus(
  sessionId: string,
  options: { parts: SessionParts; found: SessionState; evidence: Evidence; isCertain: boolean },
): string[] {
  const { parts, found, evidence, isCertain } = options;
  const reported = evidence.history.lastStatuses().get(sessionId)?.payload;
  const state = reported?.state;
  const podName = (reported?.platformMetadata as Record<string, unknown> | undefined)?.podName;
  const violation = `Session ${sessionId} was last reported as ${state ?? "nothing"}${
    podName ? ` in ${podName}` : ""
  }, but has: ${describeParts(parts)}`;
  switch (found.kind) {
    case "running":
      // A failed start that could not be cleaned up is reported as failed.
      if (state === "failed" && !isCertain) return [];
      return state === "running" && podName === parts.pods[0]?.metadata?.name ? [] : [violation];
    case "hibernated":
      if (state === "failed" && !isCertain) return [];
      return state === "hibernated" ? [] : [violation];
    case "broken":
      return state === "failed" ? [] : [violation];
    case "absent":
      return state === undefined || state === "terminated" || state === "failed" ? [] : [violation];
    default:
      return [];
  }
}

function fits(found: SessionState, expected: SessionState): boolean {
  if (found.kind !== expected.kind) return false;
  const [one, other] = [found, expected].map((state) => "settings" in state ? state.settings : undefined);
  return other === undefined || one === other;
}
