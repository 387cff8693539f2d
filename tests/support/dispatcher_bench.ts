/**
 * A dispatcher between fakes: the test controls its operations, and reads its messages and its journal.
 * @module
 */
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { Outbound } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { messageOf } from "../../lib/common/errors.ts";
import { Dispatcher } from "../../lib/commands/dispatcher.ts";
import type { Journal } from "../../lib/commands/journal.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";
import { FakeOperations } from "./fake_operations.ts";
import { FakeWire } from "./fake_wire.ts";
import { MemoryJournalStore } from "./memory_journal.ts";

/** Required fields of a start, besides the session. */
export const FIELDS = { user: "alice", template: "firefox" };

/** A dispatcher with operations that the test controls and a wire that records messages. */
export class DispatcherBench implements Disposable {
  readonly operations = new FakeOperations();
  readonly wire = new FakeWire();
  readonly store: MemoryJournalStore;
  readonly journal: Journal;
  readonly dispatcher: Dispatcher;
  /** Calls of the observer. */
  readonly observed: string[] = [];
  readonly outbox = new Outbox(undefined, { resultHoldMs: 0 });
  readonly busy = new BusySessions();
  isLeading = true;

  /** @param store the journal of the previous process */
  constructor(store = new MemoryJournalStore()) {
    this.store = store;
    this.journal = store.journal();
    this.dispatcher = new Dispatcher(this.operations, {
      journal: this.journal,
      reporter: new Reporter(this.outbox, new ReportedStatuses()),
      busy: this.busy,
      isLeading: () => this.isLeading,
      limits: { maxCpu: 4, maxMemory: 8 },
      cancelMs: 3000,
      observer: {
        received: (commandId, { action }) => this.observed.push(`${commandId} ${action}`),
        started: (commandId, { sessionId }) => this.observed.push(`${commandId} started on ${sessionId}`),
        admitted: (commandId) => this.observed.push(`${commandId} admitted`),
        ended: (commandId, outcome, error) =>
          this.observed.push(`${commandId} ${outcome}${error ? `: ${messageOf(error)}` : ""}`),
      },
    });
    this.outbox.attach(this.wire);
  }

  receive(commandId: string, action: string, payload: unknown): void {
    this.dispatcher.receive({ commandId, action, payload });
  }

  start(commandId: string, sessionId: string): void {
    this.receive(commandId, "start_session", { ...FIELDS, sessionId });
  }

  stop(commandId: string, sessionId: string): void {
    this.receive(commandId, "stop_session", { sessionId });
  }

  /** Lets the next running request succeed, and waits until its command has a result. */
  async finishNext(): Promise<string> {
    const { request, finish } = await this.operations.runs.next();
    finish();
    await settled();
    return `${request.action} ${request.sessionId}`;
  }

  /** The results that were sent for a command. */
  results(commandId: string): Outbound[] {
    return this.wire.messages.filter((one) =>
      (one.type === "complete" || one.type === "failed") && one.payload.commandId === commandId
    );
  }

  [Symbol.dispose](): void {
    this.journal[Symbol.dispose]();
    this.outbox[Symbol.dispose]();
  }
}

/** Waits for everything that happens without input or output. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}
