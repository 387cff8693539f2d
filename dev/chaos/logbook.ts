/**
 * The logs of all agent processes, and what they show: which process led when, which one accepted a command, and which errors it logged.
 * @module
 */

/** A line of a process's log. */
export interface LogLine {
  /** Milliseconds since 1970, as the agent logged it; NaN for a line without a time. */
  readonly at: number;
  readonly text: string;
}

/** One process of a replica. */
export interface AgentRun {
  readonly replica: string;
  readonly number: number;
  readonly lines: LogLine[];
  /** Absent while the process runs. */
  end?: RunEnd;
}

/** How a process ended. */
export interface RunEnd {
  readonly at: number;
  readonly code: number;
  /** Whether the test terminated or killed it. */
  readonly isExpected: boolean;
}

/** A period; without an end it lasts until the end of the process. */
export interface Span {
  readonly from: number;
  readonly to: number | undefined;
}

const LEADING = /\] Leading as /;
const LEADERSHIP_ENDED = /(Lost|Released) leadership|Cannot release the lease/;
/** Lines that only a leader logs. */
const AT_WORK = /\] (Command \S+: |WARN: Command \S+ failed|Session \S+ is |WebSocket connected)/;

/** All processes of all replicas in the order of their starts. */
export class Logbook {
  readonly runs: AgentRun[] = [];

  /** Adds a new process. */
  begin(replica: string): AgentRun {
    const number = this.runs.filter((run) => run.replica === replica).length + 1;
    const run = { replica, number, lines: [] };
    this.runs.push(run);
    return run;
  }

  /** The lines of all processes that contain one of the texts, in chronological order. */
  about(texts: readonly string[]): string[] {
    return this.runs.flatMap((run) =>
      run.lines.filter(({ text }) => texts.some((word) => text.includes(word)))
        .map(({ at, text }) => ({ at, text: `${nameOfRun(run)}: ${text}` }))
    ).toSorted((one, other) => one.at - other.at).map(({ text }) => text);
  }

  /** How many processes accepted or continued a command. */
  processesWith(commandId: string): number {
    return this.#runsWith(commandId).length;
  }

  /** Whether an agent logged in a period that it could not clean up after a command of the session. */
  hasLeftovers(sessionId: string, { from, to }: { from: number; to: number }): boolean {
    const texts = [
      `Cannot clean up after the failed start of session ${sessionId}`,
      `Cannot hibernate session ${sessionId} again after a failed wake`,
    ];
    return this.runs.some(({ lines }) =>
      lines.some(({ at, text }) => at >= from && at <= to && texts.some((word) => text.includes(word)))
    );
  }

  /** Lines of a process that show work while another process was already the leader. */
  workWithoutLease(): string[] {
    const leaders = this.runs.flatMap((run) => {
      const first = leadershipOf(run);
      return first === undefined ? [] : [{ run, since: first.from }];
    }).toSorted((one, other) => one.since - other.since);
    return leaders.flatMap(({ run, since }, index) =>
      leaders.slice(0, index).flatMap((former) =>
        former.run.lines.filter(({ at, text }) => at > since && AT_WORK.test(text))
          .map(({ text }) => `${nameOfRun(former.run)} after ${nameOfRun(run)} became the leader: ${text}`)
      )
    );
  }

  /** Processes that exited unexpectedly, with their last log lines. */
  unexpectedExits(): string[] {
    return this.runs.filter((run) =>
      run.end && !run.end.isExpected && !run.lines.some(({ text }) => LEADERSHIP_ENDED.test(text))
    ).map((run) =>
      `${nameOfRun(run)} exited unexpectedly with code ${run.end?.code}: ${
        run.lines.slice(-5).map(({ text }) => text).join(" / ")
      }`
    );
  }

  /** How many processes became the leader. */
  get leaders(): number {
    return this.runs.filter((run) => leadershipOf(run) !== undefined).length;
  }

  #runsWith(commandId: string): AgentRun[] {
    const isAboutCommand = ({ text }: LogLine) => text.includes(`Command ${commandId}: `);
    return this.runs.filter(({ lines }) => lines.some(isAboutCommand));
  }
}

/** The name of a process in reports. */
export function nameOfRun({ replica, number }: AgentRun): string {
  return `${replica}${number}`;
}

/** Parses a line of the agent's log, which starts with the time. */
export function readLine(text: string): LogLine {
  return { at: Date.parse(text.split(" ", 1)[0] ?? ""), text };
}

/** The period in which a process was the leader; a process leads at most once. */
function leadershipOf({ lines }: AgentRun): Span | undefined {
  return spans(lines, { begins: LEADING, ends: LEADERSHIP_ENDED })[0];
}

/** Whether a process is the leader according to its log. */
export function isLeading(run: AgentRun): boolean {
  const leadership = leadershipOf(run);
  return !run.end && leadership !== undefined && leadership.to === undefined;
}

function spans(lines: readonly LogLine[], { begins, ends }: { begins: RegExp; ends: RegExp }): Span[] {
  const found: Span[] = [];
  for (const { at, text } of lines) {
    const last = found.at(-1);
    const isOpen = last !== undefined && last.to === undefined;
    if (!isOpen && begins.test(text)) found.push({ from: at, to: undefined });
    else if (isOpen && ends.test(text)) found[found.length - 1] = { from: last.from, to: at };
  }
  return found;
}
