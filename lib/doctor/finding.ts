/**
 * What a check of the doctor finds out. Pure.
 * @module
 */

/** Everything that is checked, in the order of the report. The names are what programs go by. */
export const CHECKS = [
  "configuration",
  "control-plane-proxy",
  "control-plane-address",
  "control-plane-tls",
  "client-certificate",
  "control-plane-key",
  "control-plane-websocket",
  "control-plane-clock",
  "kubernetes-api",
  "kubernetes-clock",
  "namespace",
  "permissions",
  "journal",
  "issued-key",
  "session-objects",
  "storage-class",
  "quota",
  "pod-security",
  "templates",
  "custom-kinds",
  "second-agent",
] as const;

/** The name of a check. */
export type CheckName = typeof CHECKS[number];

/** How a check ended; `skip`: it could not be made, which is no fault of what it is about. */
export type Status = "ok" | "warn" | "fail" | "skip";

/** One line of the report. */
export interface Finding {
  readonly check: CheckName;
  readonly status: Status;
  /** What is so, as a sentence without a full stop. */
  readonly message: string;
  /** What to do about it, or why it could not be found out; empty where there is nothing to say. */
  readonly advice: string;
}

/** Makes the findings of one check. */
export class Findings {
  readonly #check: CheckName;

  constructor(check: CheckName) {
    this.#check = check;
  }

  ok(message: string): Finding {
    return this.#finding("ok", message, "");
  }

  warn(message: string, advice: string): Finding {
    return this.#finding("warn", message, advice);
  }

  fail(message: string, advice: string): Finding {
    return this.#finding("fail", message, advice);
  }

  skip(message: string, why: string): Finding {
    return this.#finding("skip", message, why);
  }

  #finding(status: Status, message: string, advice: string): Finding {
    return { check: this.#check, status, message, advice };
  }
}
