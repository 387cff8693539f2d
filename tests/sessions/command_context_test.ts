import { assertEquals } from "@std/assert";
import { CommandError, KubernetesError } from "../../lib/common/errors.ts";
import { requestError, statusDetail } from "../../lib/sessions/command_context.ts";

const WAKE = { action: "wake_session", sessionId: "s1" } as const;
const QUOTA = 'deployments.apps "s1" is forbidden: exceeded quota: q1';

const FAILURES: ReadonlyArray<
  [name: string, error: unknown, failure: string, reason: string, words: string]
> = [
  [
    "a trouble of its pod",
    new CommandError("start_failed", "its container crashed", { reason: "CrashLoop" }),
    "start_failed",
    "CrashLoop",
    "its container crashed",
  ],
  ["an error without a cause of the table", new CommandError("busy", "no"), "busy", "", "no"],
  ["a refusal", new KubernetesError(QUOTA, { status: 403, reason: "Forbidden" }), "cluster", "Quota", QUOTA],
  [
    "a cluster that does not answer",
    new KubernetesError("no answer in time", { status: 0, reason: "" }),
    "cluster",
    "",
    "no answer in time",
  ],
  ["a mistake", new TypeError("x is undefined"), "cluster", "", "x is undefined"],
];

for (const [name, error, failure, reason, words] of FAILURES) {
  Deno.test(`requestError() says what could not be done for ${name}, and keeps the reason`, () => {
    const told = requestError(WAKE, error);
    const message = `Cannot wake session "s1": ${words}`;
    assertEquals([told.failure, told.cause], [failure, error]);
    assertEquals(statusDetail(told), { reason, message });
  });
}
