/**
 * The lines that the program logs, for tests.
 * @module
 */
import { configureLog, type LogOptions } from "../../lib/common/log.ts";

/** Collects finished log lines until it is disposed. */
export class LogCapture implements Disposable {
  readonly lines: string[] = [];
  readonly #watchers = new Set<() => void>();

  constructor(options: Partial<Pick<LogOptions, "format" | "level" | "agentId">> = {}) {
    configureLog({
      format: options.format ?? "text",
      level: options.level ?? "debug",
      ...(options.agentId === undefined ? {} : { agentId: options.agentId }),
      write: (line) => {
        this.lines.push(line);
        for (const wake of this.#watchers) wake();
        this.#watchers.clear();
      },
    });
  }

  /** Waits until a line holds the text, and gives that line. */
  async line(text: string): Promise<string> {
    while (true) {
      const line = this.lines.find((one) => one.includes(text));
      if (line !== undefined) return line;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  [Symbol.dispose](): void {
    configureLog({ format: "text", level: "error", write: () => {} });
  }
}
