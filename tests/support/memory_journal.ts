/**
 * Where a journal is kept in tests: in memory, by a cluster that can refuse or not answer.
 * @module
 */
import { KubernetesError } from "../../lib/common/errors.ts";
import { Journal } from "../../lib/commands/journal.ts";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import type { JournalStore } from "../../lib/commands/journal_writer.ts";

/** What becomes of requests. */
type Behaviour = "answer" | "refuse" | "fail" | "hang";

/** One ConfigMap's data. */
export class MemoryJournalStore implements JournalStore {
  readonly data: Record<string, string> = {};
  /** The changes of each write that was answered. */
  readonly writes: Array<Readonly<Record<string, string | null>>> = [];
  behaviour: Behaviour = "answer";
  /** What requests wait for. */
  held: Promise<void> = Promise.resolve();
  /** The most that the values may take together, in bytes. */
  capacity = Infinity;

  /** A journal that is kept here. */
  journal(options: { sessionIds?: () => readonly string[]; writeTimeoutMs?: number } = {}): Journal {
    const { sessionIds = () => [], writeTimeoutMs = DEFAULT_TIMINGS.journalWriteMs } = options;
    return new Journal({
      store: this,
      prefix: "agent",
      sessions: { sessionIds },
      writeTimeoutMs,
      rejectedRetryMs: DEFAULT_TIMINGS.journalRejectedRetryMs,
    });
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
    const status = this.behaviour === "refuse" ? 403 : 500;
    throw new KubernetesError("Kubernetes refused to change configmaps", { status, reason: "" });
  }
}
