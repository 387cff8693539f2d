import { assertEquals } from "@std/assert";
import { CommandError, KubernetesError } from "../../lib/common/errors.ts";
import { requestError, statusDetail } from "../../lib/sessions/command_context.ts";

const WAKE = { action: "wake_session", sessionId: "s1" } as const;
const QUOTA = 'deployments.apps "s1" is forbidden: exceeded quota: q1';

const FAILURES: ReadonlyArray<
  [name: string, error: unknown, failure: string, reason: string, message: string]
> = [
  [
    "a problem of the pod",
    new CommandError("start_failed", "its container crashed", { reason: "CrashLoop" }),
    "start_failed",
    "CrashLoop",
    "its container crashed",
  ],
  ["an error without a cause", new CommandError("busy", "no"), "busy", "", "no"],
  [
    "a rejected request",
    new KubernetesError(QUOTA, { status: 403, reason: "Forbidden" }),
    "cluster",
    "Quota",
    QUOTA,
  ],
  [
    "an API server that does not answer",
    new KubernetesError("no answer in time", { status: 0, reason: "" }),
    "cluster",
    "",
    "no answer in time",
  ],
  ["a bug", new TypeError("x is undefined"), "cluster", "", "x is undefined"],
];

for (const [name, error, failure, reason, message] of FAILURES) {
  Deno.test(`requestError() adds action and session to the message of ${name}, and keeps the reason`, () => {
    const result = requestError(WAKE, error);
    assertEquals([result.failure, result.cause], [failure, error]);
    assertEquals(statusDetail(result), { reason, message: `Cannot wake session "s1": ${message}` });
  });
}
