/**
 * The checks of a run: what was said, what the cluster holds and what the agents wrote come in, broken promises come out as sentences.
 * Pure.
 * @module
 */
import type { SessionParts } from "./administrator.ts";
import { type CommandStory, type History, isReceived } from "./history.ts";
import type { Logbook } from "./logbook.ts";
import { describeState, type Expectation, expectSession, type SessionState } from "./model.ts";
import { describeParts, observe } from "./observed.ts";
import { SESSION_IDS } from "./planned_commands.ts";

/** A promise that was broken. */
export interface Violation {
  readonly text: string;
  /** Whether it stays however long one waits. */
  readonly isFinal?: boolean;
  /** Ids that lead to more about it. */
  readonly commandId?: string;
  readonly sessionId?: string;
}

/** What the checks are made on. */
export interface Evidence {
  readonly history: History;
  readonly logbook: Logbook;
  /** What the Control Plane found wrong. */
  readonly problems: readonly string[];
  readonly sessions: ReadonlyMap<string, SessionParts>;
  /** Times at which watches were made to fall silent, in milliseconds since 1970. */
  readonly silencedAt: readonly number[];
}

/** What was found. */
export interface Findings {
  readonly violations: readonly Violation[];
  /** What would be violations, had the agent or the chaos not given a reason, a sentence each. */
  readonly excused: readonly string[];
}

/** A watch that fell silent is found out after 40 s; otherwise the slowest way delays by a few seconds. */
const STALE_MS = 20_000;
const SILENT_MS = 50_000;

/** Checks answers, the cluster, and what was told of it. */
export function check(evidence: Evidence): Findings {
  const stories = evidence.history.stories();
  const excused: string[] = [];
  const violations = [
    ...checkAnswers(stories, { evidence, excused }),
    ...checkProblems(evidence, excused),
    ...SESSION_IDS.flatMap((sessionId) => checkSession(sessionId, { stories, evidence })),
    ...evidence.logbook.workOfDeposed().map((text) => ({
      text: `Two were at work at once: ${text}`,
      isFinal: true,
    })),
    ...evidence.logbook.unwantedEnds().map((text) => ({ text: `An agent crashed: ${text}`, isFinal: true })),
  ];
  return { violations, excused };
}

/** Received commands that have no answer yet. */
export function unanswered(history: History): CommandStory[] {
  return history.stories().filter((story) => isReceived(story) && story.answers.length === 0);
}

function checkAnswers(
  stories: readonly CommandStory[],
  { evidence, excused }: { evidence: Evidence; excused: string[] },
): Violation[] {
  return stories.filter(isReceived).flatMap(({ command: { commandId, action, sessionId }, answers }) => {
    const different = new Set(answers.map(({ type, text }) => `${type} ${canonical(text)}`));
    if (different.size === 1) return [];
    const text = different.size === 0
      ? `Command ${commandId} (${action}) was acknowledged and never answered`
      : `Command ${commandId} (${action}) was answered in ${different.size} ways: ${
        [...different].join(" and ")
      }`;
    const excuse = excuseFor({ commandId, sessionId, answers }, evidence);
    if (excuse === undefined) return [{ text, commandId, isFinal: different.size > 0 }];
    excused.push(`${text}; ${excuse}`);
    return [];
  });
}

/** Why a command may have two answers, if there is a reason. */
function excuseFor(
  { commandId, sessionId, answers }: Pick<CommandStory, "answers"> & { commandId: string; sessionId: string },
  { logbook, history }: Evidence,
): string | undefined {
  const [first] = answers;
  const other = answers.find(({ text }) => text !== first?.text);
  if (!first || !other || logbook.takers(commandId) < 2) return undefined;
  // The Service is where a success is kept until the journal is written next.
  const isForgotten = history.deletions.some((deletion) =>
    deletion.sessionId === sessionId && deletion.target === "session" && deletion.to > first.at - 1000 &&
    deletion.from < other.at
  );
  return isForgotten
    ? "the administrator had deleted the Service that remembered it, and another process went on"
    : undefined;
}

function checkProblems({ problems }: Evidence, excused: string[]): Violation[] {
  return problems.flatMap((problem) => {
    const commandId = /Command "(c-\d+)"/.exec(problem)?.[1];
    if (/It sent nothing for/.test(problem)) {
      excused.push(`${problem}; the chaos froze its link, or the agent itself`);
      return [];
    }
    if (commandId && /second, different result/.test(problem)) {
      // Told with both answers by the check of answers.
      return [];
    }
    const sessionId = /Session "([^"]+)"/.exec(problem)?.[1];
    return [{
      text: `The Control Plane found: ${problem}`,
      isFinal: true,
      ...(commandId ? { commandId } : {}),
      ...(sessionId ? { sessionId } : {}),
    }];
  });
}

function checkSession(
  sessionId: string,
  { stories, evidence }: { stories: readonly CommandStory[]; evidence: Evidence },
): Violation[] {
  const parts = evidence.sessions.get(sessionId) ?? { pods: [] };
  const expectation = expectationOf(sessionId, { stories, evidence });
  const { states, mayHaveHome, contradictions } = expectation;
  const found = observe(parts);
  const texts: string[] = [];
  if (!states.some((state) => fits(found, state))) {
    const expected = states.map(describeState).join(" or ");
    texts.push(`Session ${sessionId} should be ${expected}, and there is: ${describeParts(parts)}`);
  }
  if (parts.claim && !mayHaveHome) {
    texts.push(`The home of session ${sessionId} is there, and should be deleted`);
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
  { stories, evidence }: { stories: readonly CommandStory[]; evidence: Evidence },
): Expectation {
  const { history, logbook, silencedAt } = evidence;
  const commands = stories.filter(({ command }) => command.sessionId === sessionId).map((story) => ({
    ...story,
    isTaken: logbook.takers(story.command.commandId) > 0,
    hasLeftovers: logbook.hasLeftovers(sessionId, {
      from: story.sentAt,
      to: (story.answers[0]?.at ?? Infinity) + 1000,
    }),
  }));
  const deletions = history.deletions.filter((deletion) => deletion.sessionId === sessionId);
  const staleMs = ({ from, to }: { from: number; to: number }) =>
    silencedAt.some((at) => at > from - SILENT_MS && at < to + STALE_MS) ? SILENT_MS : STALE_MS;
  return expectSession(commands, { deletions, staleMs });
}

/** Whether the last thing that was told of a session is so. */
function checkStatus(
  sessionId: string,
  options: { parts: SessionParts; found: SessionState; evidence: Evidence; isCertain: boolean },
): string[] {
  const { parts, found, evidence, isCertain } = options;
  const told = evidence.history.lastStatuses().get(sessionId)?.payload;
  const state = told?.state;
  const podName = (told?.platformMetadata as Record<string, unknown> | undefined)?.podName;
  const words = `Session ${sessionId} was told to be ${state ?? "nothing"}${
    podName ? ` in ${podName}` : ""
  } last, and there is: ${describeParts(parts)}`;
  switch (found.kind) {
    case "running":
      // A start that failed and could not be cleaned up is told as failed.
      if (state === "failed" && !isCertain) return [];
      return state === "running" && podName === parts.pods[0]?.metadata?.name ? [] : [words];
    case "hibernated":
      if (state === "failed" && !isCertain) return [];
      return state === "hibernated" ? [] : [words];
    case "broken":
      return state === "failed" ? [] : [words];
    case "absent":
      return state === undefined || state === "terminated" || state === "failed" ? [] : [words];
    default:
      return [];
  }
}

function fits(found: SessionState, expected: SessionState): boolean {
  if (found.kind !== expected.kind) return false;
  const [one, other] = [found, expected].map((state) => "settings" in state ? state.settings : undefined);
  return other === undefined || one === other;
}

/** JSON that does not depend on the order of keys; answers are flat. */
function canonical(text: string): string {
  const value = JSON.parse(text);
  return typeof value === "object" && value !== null
    ? JSON.stringify(value, Object.keys(value).toSorted())
    : text;
}
