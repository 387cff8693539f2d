/**
 * Operations that succeed or fail when the test says so.
 * @module
 */
import type { Operations } from "../../lib/commands/interfaces.ts";
import type { CommandContext } from "../../lib/sessions/command_context.ts";
import type { Outcome } from "../../lib/status/annotations.ts";
import type { SessionRequest } from "../../lib/model/requests.ts";
import { Queue } from "./queue.ts";

/** One running request. */
export interface Run {
  readonly request: SessionRequest;
  readonly signal: AbortSignal;
  readonly spentMs: number;
  /** Lets the request succeed. */
  readonly finish: () => void;
  readonly fail: (error: unknown) => void;
}

/** Keeps requests running until the test ends them; a cancelled one fails with the signal's reason, as real ones do. */
export class FakeOperations implements Operations {
  /** Requests in the order they start. */
  readonly runs = new Queue<Run>();
  /** Number of running requests. */
  active = 0;

  /** Outcomes of an earlier process by command. */
  readonly earlier = new Map<string, Outcome>();

  earlierOutcome(_request: SessionRequest, commandId: string): Outcome | undefined {
    return this.earlier.get(commandId);
  }

  /** Sessions whose failed starts were reported, with the errors. */
  readonly failedStarts: string[] = [];

  reportFailedStart(
    { sessionId }: { sessionId: string },
    { message }: Error,
    signal: AbortSignal,
  ): Promise<void> {
    if (!signal.aborted) this.failedStarts.push(`${sessionId}: ${message}`);
    return Promise.resolve();
  }

  async run(request: SessionRequest, { signal, spentMs }: CommandContext): Promise<Outcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    this.active += 1;
    this.runs.push({ request, signal, spentMs, finish: () => resolve(outcomeOf(request)), fail: reject });
    try {
      return await promise;
    } finally {
      this.active -= 1;
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function outcomeOf({ action, sessionId }: SessionRequest): Outcome {
  const isStop = action === "stop_session";
  const status = {
    sessionId,
    state: isStop ? "terminated" : "running",
    vncReady: !isStop,
    vncPort: 3000,
    platformMetadata: { podName: `${sessionId}-x` },
  } as const;
  return { result: { sessionId, action }, status, isEvident: false };
}
