/**
 * A journal store in memory that can reject requests, fail or not answer.
 * @module
 */
import { delay } from "@std/async";
import type { ObservedVersions } from "../../lib/kubernetes/session_cache.ts";
import { KubernetesError } from "../../lib/common/errors.ts";
import { Journal } from "../../lib/commands/journal.ts";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import type { JournalStore } from "../../lib/commands/journal_writer.ts";

/** How requests are answered. */
type Behaviour = "answer" | "reject" | "fail" | "hang";

/** The data of one ConfigMap. */
export class MemoryJournalStore implements JournalStore {
  readonly data: Record<string, string> = {};
  /** The changes of each successful write. */
  readonly writes: Array<Readonly<Record<string, string | null>>> = [];
  behaviour: Behaviour = "answer";
  /** Requests wait until it resolves. */
  held: Promise<void> = Promise.resolve();
  /** Limit for the size of all values, in bytes. */
  capacity = Infinity;

  /** A journal that is stored here. */
  journal(
    options: {
      sessionIds?: () => readonly string[];
      writeTimeoutMs?: number;
      adoptedPrefixes?: readonly string[];
      upTo?: ObservedVersions | undefined;
      refreshMs?: number;
      collectMs?: number;
    } = {},
  ): Journal {
    const { sessionIds = () => [], upTo, writeTimeoutMs = DEFAULT_TIMINGS.journalWriteMs } = options;
    return new Journal({
      store: this,
      prefix: "agent",
      adoptedPrefixes: options.adoptedPrefixes ?? [],
      sessions: { sessionIds: () => sessionIds().toSorted(), upTo },
      writeTimeoutMs,
      collectMs: options.collectMs ?? 0,
      groupMs: 0,
      refreshMs: options.refreshMs ?? 3_600_000,
      rejectedRetryMs: DEFAULT_TIMINGS.journalRejectedRetryMs,
    });
  }

  pause(ms: number, signal: AbortSignal): Promise<void> {
    return delay(ms, { signal });
  }

  async read(): Promise<Readonly<Record<string, string>>> {
    await this.#pass();
    return { ...this.data };
  }

  async write(changes: Readonly<Record<string, string | null>>): Promise<void> {
    await this.#pass();
    const after = Object.entries({ ...this.data, ...changes });
    const bytes = after.reduce((sum, [, text]) => sum + new TextEncoder().encode(text ?? "").length, 0);
    if (bytes > this.capacity) {
      throw new KubernetesError("Kubernetes refused to change configmaps: Too long", {
        status: 422,
        reason: "Invalid",
      });
    }
    this.writes.push(changes);
    for (const [key, text] of Object.entries(changes)) {
      if (text === null) delete this.data[key];
      else this.data[key] = text;
    }
  }

  async #pass(): Promise<void> {
    await this.held;
    if (this.behaviour === "hang") return await new Promise<never>(() => {});
    if (this.behaviour === "answer") return;
    const status = this.behaviour === "reject" ? 403 : 500;
    throw new KubernetesError("Kubernetes refused to change configmaps", { status, reason: "" });
  }
}
