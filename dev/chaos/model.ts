/**
 * What the cluster should hold of a session: commands with their answers and deletions go in, the states that these allow come out. Pure.
 * More than one state is allowed where nobody can know which: a deletion beside a command, or a command that failed halfway.
 * @module
 */
import type { CommandStory, PastDeletion } from "./history.ts";

/** What there is of a session. */
export type SessionState =
  | { readonly kind: "absent" }
  /** A Service without its Deployment, as after the deletion of that one. */
  | { readonly kind: "broken" }
  /** Without settings: any. */
  | { readonly kind: "running" | "hibernated"; readonly settings?: string }
  /** Anything else, such as a Deployment without its Service. */
  | { readonly kind: "other" };

/** A command as the model needs it. */
export interface ModelCommand extends CommandStory {
  /** Whether an agent took it in: only then can it have done anything. */
  readonly isTaken: boolean;
  /** Whether the agent said that it could not clean up after it. */
  readonly hasLeftovers: boolean;
}

/** What should be there. */
export interface Expectation {
  readonly states: readonly SessionState[];
  readonly mayHaveHome: boolean;
  /** Answers that cannot be true, a sentence each. */
  readonly contradictions: readonly string[];
}

/** A state and the deletions that are still to come true in it. */
interface Branch {
  readonly state: SessionState;
  readonly pending: readonly PastDeletion[];
}

const ABSENT: SessionState = { kind: "absent" };
const BROKEN: SessionState = { kind: "broken" };
const OTHER: SessionState = { kind: "other" };
const ANY: readonly SessionState[] = [ABSENT, BROKEN, OTHER, { kind: "running" }, { kind: "hibernated" }];

/** Answers to commands that did nothing. */
const REFUSED =
  /" must |" is required|Unknown action|not found, available are|accepts no more commands|too many pending commands/;
/** Answers to commands that others were to clean up after. */
const CANCELLED = /cancelled by stop|cancelled because the agent is stopping/;
const NOT_FOUND = /it does not exist|it was deleted in the meantime/;
const CONFLICT = /already exists with other settings/;

/**
 * Folds a session's commands, in the order in which they were sent.
 *
 * @param staleMs for how long after a deletion an agent may not have seen it
 */
export function expectSession(
  commands: readonly ModelCommand[],
  { deletions, staleMs }: {
    deletions: readonly PastDeletion[];
    staleMs: (deletion: PastDeletion) => number;
  },
): Expectation {
  const contradictions: string[] = [];
  let branches: Branch[] = [{ state: ABSENT, pending: deletions }];
  for (const command of commands) {
    const answeredAt = lastWorkAt(command);
    const isBefore = (deletion: PastDeletion) => command.sentAt > deletion.to + staleMs(deletion);
    const isBeside = (deletion: PastDeletion) => !isBefore(deletion) && answeredAt > deletion.from;
    const before = branches.flatMap((branch) => come(branch, isBefore)).flatMap((branch) =>
      fork(branch, isBeside)
    );
    const after = before.flatMap(({ state, pending }) =>
      step(state, command).map((next) => ({ state: next, pending }))
    );
    if (after.length > 0) branches = distinct(after);
    else {
      contradictions.push(contradiction(command, branches));
      branches = ANY.map((state) => ({ state, pending: branches[0]?.pending ?? [] }));
    }
  }
  const states = branches.flatMap((branch) => come(branch, () => true)).map(({ state }) => state);
  return { states: distinct(states), mayHaveHome: mayHaveHome(commands, deletions), contradictions };
}

/** A state in words. */
export function describeState(state: SessionState): string {
  return state.kind === "running" || state.kind === "hibernated"
    ? `${state.kind}${state.settings ? ` with ${state.settings}` : ""}`
    : state.kind;
}

/** What a session is started with, as text that can be compared. */
export function settingsOf(payload: unknown): string {
  const { user, template, persistentHome, memory, cpu } = payload as Record<string, unknown>;
  return JSON.stringify([user, template, persistentHome, memory, cpu]);
}

/** When a command was at work for the last time: a different answer means that it was carried out again. */
function lastWorkAt({ answers }: ModelCommand): number {
  return answers.findLast(({ text }, index) => text !== answers[index - 1]?.text)?.at ?? Infinity;
}

/** The states that a command with its answer can lead to; none if the answer cannot be true. */
function step(state: SessionState, command: ModelCommand): readonly SessionState[] {
  const { isTaken, hasLeftovers, answers: [answer] } = command;
  if (!answer) return isTaken ? ANY : [state];
  if (answer.type === "complete") return complete(state, command);
  if (REFUSED.test(answer.text)) return [state];
  if (CANCELLED.test(answer.text) || hasLeftovers) return ANY;
  const hasDeployment = state.kind !== "absent" && state.kind !== "broken";
  if (NOT_FOUND.test(answer.text)) return hasDeployment && state.kind !== "other" ? [] : [state];
  switch (command.command.action) {
    case "start_session":
      if (CONFLICT.test(answer.text)) {
        return mayDiffer(state, settingsOf(command.command.payload)) ? [state] : [];
      }
      return hasDeployment ? [state] : [ABSENT];
    case "hibernate_session":
      return state.kind === "running" ? [state, { ...state, kind: "hibernated" }] : [state];
    case "stop_session":
      return ANY;
    default:
      return [state];
  }
}

function complete(state: SessionState, { command }: ModelCommand): readonly SessionState[] {
  const hasDeployment = state.kind === "running" || state.kind === "hibernated";
  switch (command.action) {
    case "start_session": {
      const settings = settingsOf(command.payload);
      if (hasDeployment && state.settings !== undefined && state.settings !== settings) return [];
      const running: SessionState = { kind: "running", settings };
      return state.kind === "other" ? [running, OTHER] : [running];
    }
    case "stop_session":
      return [ABSENT];
    case "hibernate_session":
    case "wake_session": {
      if (state.kind === "other") return [OTHER];
      const kind = command.action === "wake_session" ? "running" : "hibernated";
      return hasDeployment ? [{ ...state, kind }] : [];
    }
    default:
      return [];
  }
}

function mayDiffer(state: SessionState, settings: string): boolean {
  if (state.kind === "other") return true;
  return (state.kind === "running" || state.kind === "hibernated") && state.settings !== settings;
}

/** Lets those deletions come true that the predicate picks. */
function come(branch: Branch, isDue: (deletion: PastDeletion) => boolean): Branch[] {
  const due = branch.pending.filter(isDue);
  const pending = branch.pending.filter((deletion) => !due.includes(deletion));
  const states = due.reduce<readonly SessionState[]>(
    (before, deletion) => before.flatMap((state) => remove(state, deletion)),
    [branch.state],
  );
  return states.map((state) => ({ state, pending }));
}

/** Lets each of those deletions come true now, or later. */
function fork(branch: Branch, isBeside: (deletion: PastDeletion) => boolean): Branch[] {
  return branch.pending.filter(isBeside).reduce<Branch[]>(
    (branches, deletion) =>
      distinct(branches.flatMap((one) => [one, ...come(one, (pending) => pending === deletion)])),
    [branch],
  );
}

function remove(state: SessionState, { target }: PastDeletion): readonly SessionState[] {
  if (target === "pod" || state.kind === "absent") return [state];
  // What a start beside it had not made yet when the administrator looked is left alone.
  if (target === "session") return [ABSENT, BROKEN, OTHER];
  return state.kind === "other" ? [OTHER, ABSENT] : [BROKEN];
}

function mayHaveHome(commands: readonly ModelCommand[], deletions: readonly PastDeletion[]): boolean {
  let mayHave = false;
  for (const { command: { action, payload }, answers: [answer], isTaken } of commands) {
    const fields = payload as Record<string, unknown>;
    if (action === "start_session" && isTaken && fields.persistentHome === true) mayHave = true;
    if (action === "stop_session" && answer?.type === "complete" && fields.deletePVC === true) {
      mayHave = false;
    }
  }
  // Where it is not known what was deleted when, nothing is said of the home.
  return mayHave || deletions.some(({ target }) => target === "session");
}

function contradiction({ command, answers: [answer] }: ModelCommand, branches: readonly Branch[]): string {
  const states = distinct(branches.map(({ state }) => state)).map(describeState).join(" or ");
  return `The answer to ${command.commandId} (${command.action}) cannot be true, as the session was ${states}: ${answer?.type} ${answer?.text}`;
}

function distinct<T>(items: readonly T[]): T[] {
  return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()];
}
