/**
 * Lets sessions remember what came of their commands and what was told of them, as annotations of their Services: those have no controller
 * that each change would wake.
 * @module
 */
import { deadline } from "@std/async";
import type { CommandResult, SessionStatus } from "../control_plane/protocol.ts";
import { messageOf } from "../common/errors.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { log } from "../common/log.ts";
import { type Outcome, outcomeAnnotations, statusAnnotation } from "./outcome.ts";

/** Writes to sessions' Services; never fails. */
export class Recorder {
  readonly #client: Pick<SessionClient, "annotate">;
  readonly #cache: SessionCache;

  readonly #timeoutMs: number;

  /** @param options.timeoutMs longest wait for a write, as command results wait for it, in milliseconds. @default {5000} */
  constructor(
    client: Pick<SessionClient, "annotate">,
    cache: SessionCache,
    { timeoutMs = 5000 }: { readonly timeoutMs?: number } = {},
  ) {
    this.#client = client;
    this.#cache = cache;
    this.#timeoutMs = timeoutMs;
  }

  /** Lets a session remember the outcome of a command, and gives it as an outcome that says whether it does. */
  async record(
    commandId: string,
    outcome: { readonly result: CommandResult; readonly status: SessionStatus },
  ): Promise<Outcome> {
    const annotations = outcomeAnnotations(commandId, outcome);
    return { ...outcome, isRecorded: await this.#annotate(outcome.status.sessionId, annotations) };
  }

  /** Lets a session remember the state that the Control Plane was told; where it cannot, the next process tells it once more. */
  async remember(status: SessionStatus): Promise<void> {
    await this.#annotate(status.sessionId, statusAnnotation(status));
  }

  async #annotate(sessionId: string, annotations: Readonly<Record<string, string>>): Promise<boolean> {
    const { name, deletionTimestamp } = this.#cache.session(sessionId).service?.metadata ?? {};
    if (!name || deletionTimestamp) return false;
    try {
      const service = await deadline(this.#client.annotate(name, annotations), this.#timeoutMs);
      this.#cache.put("service", service);
      return true;
    } catch (error) {
      log.debug("Session {sessionId} cannot remember: {reason}", { sessionId, reason: messageOf(error) });
      return false;
    }
  }
}
