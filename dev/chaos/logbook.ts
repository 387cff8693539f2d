/**
 * What the agents' processes said, and what follows from it: who led when, who took which command, and what they themselves called lost.
 * @module
 */

/** A line of a process's log. */
export interface LogLine {
  /** Milliseconds since 1970, as the agent wrote it; NaN where it wrote none. */
  readonly at: number;
  readonly text: string;
}

/** One process of a replica. */
export interface AgentRun {
  readonly replica: string;
  readonly number: number;
  readonly lines: LogLine[];
  /** Absent while it lives. */
  end?: RunEnd;
}

/** How a process ended. */
export interface RunEnd {
  readonly at: number;
  readonly code: number;
  /** Whether this program told it to end, or ended it. */
  readonly isWanted: boolean;
}

/** A time that a process spent in some state; without an end it lasted until the process ended, or still lasts. */
export interface Span {
  readonly from: number;
  readonly to: number | undefined;
}

const LEADING = /\] Leading as /;
const LEADERSHIP_ENDED = /(Lost|Released) leadership|Cannot release the lease/;
/** What only a leader says. */
const AT_WORK = /\] (Command \S+: |WARN: Command \S+ failed|Session \S+ is |WebSocket connected)/;

/** All processes of all replicas, in the order in which they began. */
export class Logbook {
  readonly runs: AgentRun[] = [];

  /** Opens a page for a new process. */
  begin(replica: string): AgentRun {
    const number = this.runs.filter((run) => run.replica === replica).length + 1;
    const run = { replica, number, lines: [] };
    this.runs.push(run);
    return run;
  }

  /** The lines that hold any of the words, of all processes, in order of time. */
  about(words: readonly string[]): string[] {
    return this.runs.flatMap((run) =>
      run.lines.filter(({ text }) => words.some((word) => text.includes(word)))
        .map(({ at, text }) => ({ at, text: `${nameOfRun(run)}: ${text}` }))
    ).toSorted((one, other) => one.at - other.at).map(({ text }) => text);
  }

  /** How many processes took the command in, or went on with it. */
  takers(commandId: string): number {
    return this.#runsWith(commandId).length;
  }

  /** Whether an agent said in a time that it could not clean up after a command of the session. */
  hasLeftovers(sessionId: string, { from, to }: { from: number; to: number }): boolean {
    const words = [
      `Cannot clean up after the failed start of session ${sessionId}`,
      `Cannot hibernate session ${sessionId} again after a failed wake`,
    ];
    return this.runs.some(({ lines }) =>
      lines.some(({ at, text }) => at >= from && at <= to && words.some((word) => text.includes(word)))
    );
  }

  /** Lines of work that a process wrote while another one already led. */
  workOfDeposed(): string[] {
    const leaders = this.runs.flatMap((run) => {
      const first = leadershipOf(run);
      return first === undefined ? [] : [{ run, since: first.from }];
    }).toSorted((one, other) => one.since - other.since);
    return leaders.flatMap(({ run, since }, index) =>
      leaders.slice(0, index).flatMap((former) =>
        former.run.lines.filter(({ at, text }) => at > since && AT_WORK.test(text))
          .map(({ text }) => `${nameOfRun(former.run)} after ${nameOfRun(run)} led: ${text}`)
      )
    );
  }

  /** Processes that exited unexpectedly while leading or waiting, with their last log lines. */
  unwantedEnds(): string[] {
    return this.runs.filter((run) =>
      run.end && !run.end.isWanted && !run.lines.some(({ text }) => LEADERSHIP_ENDED.test(text))
    ).map((run) =>
      `${nameOfRun(run)} ended by itself with code ${run.end?.code}: ${
        run.lines.slice(-5).map(({ text }) => text).join(" / ")
      }`
    );
  }

  /** How many processes came to lead. */
  get leaders(): number {
    return this.runs.filter((run) => leadershipOf(run) !== undefined).length;
  }

  #runsWith(commandId: string): AgentRun[] {
    const isOfIt = ({ text }: LogLine) => text.includes(`Command ${commandId}: `);
    return this.runs.filter(({ lines }) => lines.some(isOfIt));
  }
}

/** A process as it is called in reports. */
function nameOfRun({ replica, number }: AgentRun): string {
  return `${replica}${number}`;
}

/** Reads a line of the agent's log, which begins with the time. */
export function readLine(text: string): LogLine {
  return { at: Date.parse(text.split(" ", 1)[0] ?? ""), text };
}

/** The time in which a process led: it does so once at most. */
function leadershipOf({ lines }: AgentRun): Span | undefined {
  return spans(lines, { begins: LEADING, ends: LEADERSHIP_ENDED })[0];
}

/** Whether a process leads now, as far as it has said. */
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
