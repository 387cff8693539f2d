import { assertEquals } from "@std/assert";
import type { PastDeletion } from "../../dev/chaos/history.ts";
import { describeState, expectSession, type ModelCommand } from "../../dev/chaos/model.ts";
import { observe } from "../../dev/chaos/observed.ts";

const SETTINGS = { user: "u", template: "firefox", persistentHome: false, memory: "256Mi", cpu: "100m" };
const AS_TEXT = '["u","firefox",false,"256Mi","100m"]';

/** A command with a result after a second; it is a success unless it has an error. */
function command(
  action: string,
  options: { at?: number; error?: string; payload?: Record<string, unknown>; isAnswered?: boolean } = {},
): ModelCommand {
  const { at = 0, error, payload = SETTINGS, isAnswered = true } = options;
  const answer = { at: at + 1000, type: error ? "failed" : "complete", text: error ?? "{}" } as const;
  return {
    command: { commandId: "c1", action: `${action}_session`, sessionId: "s1", payload },
    sentAt: at,
    ackedAt: at,
    answers: isAnswered ? [answer] : [],
    isAccepted: true,
    hasLeftovers: false,
  };
}

function states(commands: readonly ModelCommand[], deletions: readonly PastDeletion[] = []): string[] {
  const { states, contradictions } = expectSession(commands, { deletions, staleMs: () => 0 });
  return [...states.map(describeState), ...contradictions.map(() => "contradiction")].toSorted();
}

function deletion(target: PastDeletion["target"], at: number): PastDeletion {
  return { kind: "administrator", sessionId: "s1", target, from: at, to: at };
}

Deno.test("expectSession() expects no objects without a command", () => {
  assertEquals(states([]), ["absent"]);
});

Deno.test("expectSession() expects the state after the last command", () => {
  assertEquals(states([command("start")]), [`running with ${AS_TEXT}`]);
  assertEquals(states([command("start"), command("hibernate")]), [`hibernated with ${AS_TEXT}`]);
  assertEquals(states([command("start"), command("hibernate"), command("wake")]), [
    `running with ${AS_TEXT}`,
  ]);
  assertEquals(states([command("start"), command("stop")]), ["absent"]);
});

Deno.test("expectSession() expects no change by a rejected command, and no objects after a failed start", () => {
  const rejected = command("stop", { error: '"deletePVC" must be true or false' });
  assertEquals(states([command("start"), rejected]), [`running with ${AS_TEXT}`]);
  assertEquals(states([command("start", { error: "it was not ready within 40s" })]), ["absent"]);
});

Deno.test("expectSession() allows a conflict only for an existing session", () => {
  const other = command("start", {
    error: "it already exists with other settings",
    payload: { ...SETTINGS, cpu: "1" },
  });
  assertEquals(states([command("start"), other]), [`running with ${AS_TEXT}`]);
  assertEquals(states([other]).includes("contradiction"), true);
});

Deno.test("expectSession() finds results that cannot be true", () => {
  assertEquals(states([command("wake")]).includes("contradiction"), true);
  const missing = command("hibernate", { error: "it does not exist" });
  assertEquals(states([command("start"), missing]).includes("contradiction"), true);
});

Deno.test("expectSession() allows any state after a failed stop or a command without a result", () => {
  assertEquals(states([command("start"), command("stop", { error: "no answer in time" })]).length, 5);
  assertEquals(states([command("start", { isAnswered: false })]).length, 5);
});

Deno.test("expectSession() expects no Deployment after its deletion, until a later start", () => {
  const deleted = [deletion("deployment", 5000)];
  assertEquals(states([command("start")], deleted), ["broken"]);
  assertEquals(states([command("start"), command("start", { at: 9000 })], deleted), [
    `running with ${AS_TEXT}`,
  ]);
});

Deno.test("expectSession() allows both orders of a command and a concurrent deletion", () => {
  assertEquals(states([command("start", { at: 4500 })], [deletion("deployment", 5000)]), [
    "broken",
    `running with ${AS_TEXT}`,
  ]);
});

Deno.test("expectSession() needs little memory for many deletions after a command that no agent received", () => {
  const lost = { ...command("stop", { at: 2000, isAnswered: false }), isAccepted: false };
  const deletions = Array.from({ length: 40 }, (_, index) => deletion("deployment", 5000 + index));
  assertEquals(states([command("start"), lost], deletions), ["broken"]);
});

Deno.test("expectSession() ignores the deletion of a pod", () => {
  assertEquals(states([command("start")], [deletion("pod", 5000)]), [`running with ${AS_TEXT}`]);
});

Deno.test("expectSession() allows a home volume unless a stop deleted it", () => {
  const start = command("start", { payload: { ...SETTINGS, persistentHome: true } });
  const home = (commands: readonly ModelCommand[]) =>
    expectSession(commands, { deletions: [], staleMs: () => 0 }).mayHaveHome;
  assertEquals(home([command("start")]), false);
  assertEquals(home([start, command("stop")]), true);
  assertEquals(home([start, command("stop", { payload: { deletePVC: true } })]), false);
});

Deno.test("observe() compares a session with its start, whatever volumes its template has", () => {
  const labels = { app: "streamspace-session", user: "u", template: "firefox" };
  const containers = [{ name: "session", resources: { limits: { memory: "256Mi", cpu: "100m" } } }];
  const volumes = [{ name: "shm", emptyDir: {} }];
  const spec = { replicas: 0, selector: {}, template: { spec: { containers, volumes } } };
  const parts = { deployment: { metadata: { labels }, spec }, service: {}, policy: {}, pods: [] };
  assertEquals(observe(parts), { kind: "hibernated", settings: AS_TEXT });
  const { policy: _, ...withoutPolicy } = parts;
  assertEquals(observe(withoutPolicy), { kind: "other" });
  const unlabelled = { ...parts.deployment, metadata: { labels: { user: "u", template: "firefox" } } };
  assertEquals(observe({ ...parts, deployment: unlabelled }), { kind: "other" });
});

Deno.test("expectSession() expects that the agent restores what it can", () => {
  for (const target of ["service", "policy", "replicaset", "labels"] as const) {
    const deletion = { kind: "administrator", sessionId: "s1", target, from: 0, to: 1 } as const;
    const { states } = expectSession([], { deletions: [deletion], staleMs: () => 0 });
    assertEquals(states, [{ kind: "absent" }]);
  }
});
