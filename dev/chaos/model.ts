/**
 * The model of a session: the states that its commands, their results and the deletions allow. Pure. Several states are allowed if the order
 * is unknown, such as for a deletion during a command, or a command that failed halfway.
 * @module
 */
import type { CommandRecord, PastDeletion } from "./history.ts";

/** The state of a session. */
export type SessionState =
  | { readonly kind: "absent" }
  /** A Service without its Deployment, for example after its deletion. */
  | { readonly kind: "broken" }
  /** Any settings if absent. */
  | { readonly kind: "running" | "hibernated"; readonly settings?: string }
  /** Anything else, such as a Deployment without its Service. */
  | { readonly kind: "other" };

/** A command as the model needs it. */
export interface ModelCommand extends CommandRecord {
  /** Whether an agent accepted it: only then can it have an effect. */
  readonly isAccepted: boolean;
  /** Whether the agent logged that it could not clean up after it. */
  readonly hasLeftovers: boolean;
}

/** The expected state. */
export interface Expectation {
  readonly states: readonly SessionState[];
  readonly mayHaveHome: boolean;
  /** Results that cannot be true, one sentence each. */
  readonly contradictions: readonly string[];
}

/** A possible state, and the deletions that were not applied to it yet. */
interface Branch {
  readonly state: SessionState;
  readonly pending: readonly PastDeletion[];
}

const ABSENT: SessionState = { kind: "absent" };
const BROKEN: SessionState = { kind: "broken" };
const OTHER: SessionState = { kind: "other" };
const ANY: readonly SessionState[] = [ABSENT, BROKEN, OTHER, { kind: "running" }, { kind: "hibernated" }];

/** Errors of commands that were rejected. */
const REJECTED =
  /" must |" is required|Unknown action|not found, available are|accepts no more commands|too many pending commands/;
/** Errors of cancelled commands: another command or process cleans up. */
const CANCELLED = /cancelled by stop|cancelled because the agent is stopping/;
const NOT_FOUND = /it does not exist|it was deleted in the meantime/;
const CONFLICT = /already exists with other settings/;

/**
 * Applies the commands of a session in the order in which they were sent.
 *
 * @param staleMs how long after a deletion the cache of an agent may be stale
 */
export function expectSession(
  commands: readonly ModelCommand[],
  { deletions, staleMs }: {
    deletions: readonly PastDeletion[];
    staleMs: (deletion: PastDeletion) => number;
  },
): Expectation {
  const contradictions: string[] = [];
  let branches: Branch[] = [{ state: ABSENT, pending: deletions.filter(hasEffect) }];
  // Without this, every deletion after a command that no agent received would double the number of branches.
  const received = commands.filter(({ isAccepted, answers }) => isAccepted || answers.length > 0);
  for (const command of received) {
    const answeredAt = lastWorkAt(command);
    const isBefore = (deletion: PastDeletion) => command.sentAt > deletion.to + staleMs(deletion);
    const isConcurrent = (deletion: PastDeletion) => !isBefore(deletion) && answeredAt > deletion.from;
    const before = branches.flatMap((branch) => apply(branch, isBefore)).flatMap((branch) =>
      applyOrPostpone(branch, isConcurrent)
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
  const states = branches.flatMap((branch) => apply(branch, () => true)).map(({ state }) => state);
  return { states: distinct(states), mayHaveHome: mayHaveHome(commands, deletions), contradictions };
}

/** A state as text. */
export function describeState(state: SessionState): string {
  return state.kind === "running" || state.kind === "hibernated"
    ? `${state.kind}${state.settings ? ` with ${state.settings}` : ""}`
    : state.kind;
}

/** The settings of a start as text, for comparison. */
export function settingsOf(payload: unknown): string {
  const { user, template, persistentHome, memory, cpu } = payload as Record<string, unknown>;
  return JSON.stringify([user, template, persistentHome, memory, cpu]);
}

/** When a command was last executed: a different result means that it was executed again. */
function lastWorkAt({ answers }: ModelCommand): number {
  return answers.findLast(({ text }, index) => text !== answers[index - 1]?.text)?.at ?? Infinity;
}

/** The states after a command; none if its result cannot be true. */
function step(state: SessionState, command: ModelCommand): readonly SessionState[] {
  const { isAccepted, hasLeftovers, answers: [answer] } = command;
  if (!answer) return isAccepted ? ANY : [state];
  if (answer.type === "complete") return complete(state, command);
  if (REJECTED.test(answer.text)) return [state];
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

/** Applies the deletions that are due. */
function apply(branch: Branch, isDue: (deletion: PastDeletion) => boolean): Branch[] {
  const due = branch.pending.filter(isDue);
  const pending = branch.pending.filter((deletion) => !due.includes(deletion));
  const states = due.reduce<readonly SessionState[]>(
    (before, deletion) => before.flatMap((state) => remove(state, deletion)),
    [branch.state],
  );
  return states.map((state) => ({ state, pending }));
}

/** Applies each concurrent deletion now or later. */
function applyOrPostpone(branch: Branch, isConcurrent: (deletion: PastDeletion) => boolean): Branch[] {
  return branch.pending.filter(isConcurrent).reduce<Branch[]>(
    (branches, deletion) =>
      distinct(branches.flatMap((one) => [one, ...apply(one, (pending) => pending === deletion)])),
    [branch],
  );
}

/** A Deployment creates its pods and ReplicaSets again, and the agent restores the rest. */
function hasEffect({ target }: PastDeletion): boolean {
  return target === "service" || target === "deployment" || target === "session";
}

function remove(state: SessionState, { target }: PastDeletion): readonly SessionState[] {
  if (state.kind === "absent") return [state];
  if (target === "service") return state.kind === "broken" ? [ABSENT] : [state];
  // Objects that a concurrent start created after the administrator listed them are not deleted.
  if (target === "session") return [ABSENT, BROKEN, OTHER];
  return state.kind === "other" ? [OTHER, ABSENT] : [BROKEN];
}

function mayHaveHome(commands: readonly ModelCommand[], deletions: readonly PastDeletion[]): boolean {
  let mayHave = false;
  for (const { command: { action, payload }, answers: [answer], isAccepted } of commands) {
    const fields = payload as Record<string, unknown>;
    if (action === "start_session" && isAccepted && fields.persistentHome === true) mayHave = true;
    if (action === "stop_session" && answer?.type === "complete" && fields.deletePVC === true) {
      mayHave = false;
    }
  }
  // After a deletion of all objects, the home volume may or may not exist.
  return mayHave || deletions.some(({ target }) => target === "session");
}

function contradiction({ command, answers: [answer] }: ModelCommand, branches: readonly Branch[]): string {
  const states = distinct(branches.map(({ state }) => state)).map(describeState).join(" or ");
  return `The result of ${command.commandId} (${command.action}) cannot be true, because the session was ${states}: ${answer?.type} ${answer?.text}`;
}

function distinct<T>(items: readonly T[]): T[] {
  return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()];
}
