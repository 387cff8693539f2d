import { assertEquals, assertThrows } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { parseQuirks, type Quirk, QUIRKS } from "../../dev/control_plane/quirks.ts";
import { FakeTime } from "../support/fake_time.ts";
import { HandAgent, register } from "./hand_agent.ts";

const START = { action: "start_session", sessionId: "s1", payload: { sessionId: "s1" } };

async function request(url: string, body?: unknown): Promise<Record<string, unknown>> {
  const response = await fetch(url, body ? { method: "POST", body: JSON.stringify(body) } : {});
  return { code: response.status, ...await response.json() };
}

/** Runs a check with a quirk and without it. */
function withAndWithout(
  quirk: Quirk,
  name: string,
  check: (controlPlane: ControlPlane, hasQuirk: boolean) => Promise<void>,
): void {
  for (const quirks of [[quirk], []]) {
    Deno.test(`Quirk ${quirk} ${name} (${quirks.length > 0 ? "on" : "off"})`, async () => {
      await using controlPlane = ControlPlane.start({ quirks });
      await check(controlPlane, quirks.length > 0);
    });
  }
}

Deno.test("parseQuirks() reads names separated by commas and rejects unknown ones", () => {
  assertEquals(parseQuirks(""), []);
  assertEquals(parseQuirks("late-sent,approval"), ["late-sent", "approval"]);
  assertThrows(() => parseQuirks("late-sent,late"), RangeError, "--quirks must be of late-sent, ");
});

Deno.test("docs/protocol.md describes every quirk as --help does", async () => {
  const page = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
  const rows = [...page.matchAll(/^\| `([a-z-]+)` +\| (.+?) +\|$/gm)].filter(([, name = ""]) =>
    name in QUIRKS
  );
  assertEquals(Object.fromEntries(rows.map(([, name, text]) => [name, text])), { ...QUIRKS });
});

withAndWithout("late-sent", "overwrites a result within 100 ms", async (controlPlane, hasQuirk) => {
  await using agent = await HandAgent.join(controlPlane.url);
  const commandId = controlPlane.command("a1", START);
  const status = async () => (await request(`${controlPlane.url}/api/v1/commands/${commandId}`)).status;
  const complete = async () => {
    agent.send("complete", { commandId, result: {} });
    agent.send("pong", {});
    await controlPlane.waitFor(({ type }) => type === "pong");
  };
  await complete();
  assertEquals(await status(), "completed");
  await new Promise((resolve) => setTimeout(resolve, 110));
  assertEquals(await status(), hasQuirk ? "sent" : "completed");
  agent.send("complete", { commandId, result: {} });
  agent.send("heartbeat", { status: "online", activeSessions: 0, capacity: {} });
  await controlPlane.waitFor(({ type }) => type === "heartbeat");
  assertEquals(await status(), "completed");
  assertEquals(controlPlane.problems, []);
});

withAndWithout(
  "online-before-link",
  "fails a command that comes before the link",
  async (controlPlane, hasQuirk) => {
    using time = new FakeTime();
    await (await register(controlPlane.url, { agentId: "a1", platform: "kubernetes" })).body?.cancel();
    const { code, status, error } = await request(`${controlPlane.url}/api/v1/agents/a1/command`, START);
    assertEquals(
      [code, status, error],
      hasQuirk ? [202, "failed", "The agent is not connected"] : [503, undefined, "Agent not connected"],
    );
    const joined = HandAgent.join(controlPlane.url);
    if (hasQuirk) await time.tickAsync(await time.timer(300));
    await using _agent = await joined;
    assertEquals(controlPlane.connections.length, 1);
  },
);

withAndWithout("early-close", "closes the first link after a lost one", async (controlPlane, hasQuirk) => {
  const first = await HandAgent.join(controlPlane.url);
  controlPlane.disconnect("a1");
  await first.closed;
  const second = await HandAgent.join(controlPlane.url);
  if (hasQuirk) await second.closed;
  await using third = hasQuirk ? await HandAgent.join(controlPlane.url) : second;
  await new Promise((resolve) => setTimeout(resolve, 20));
  third.send("pong", {});
  await controlPlane.waitFor(({ type }) => type === "pong");
  assertEquals(controlPlane.connections.length, hasQuirk ? 3 : 2);
});

withAndWithout("ignore-draining", "sends commands to a draining agent", async (controlPlane, hasQuirk) => {
  await using agent = await HandAgent.join(controlPlane.url);
  agent.send("heartbeat", { status: "draining", activeSessions: 0, capacity: {} });
  await controlPlane.waitFor(({ type }) => type === "heartbeat");
  const { code, error } = await request(`${controlPlane.url}/api/v1/agents/a1/command`, START);
  assertEquals([code, error], hasQuirk ? [202, undefined] : [503, "Agent is draining"]);
});

withAndWithout(
  "ignore-failed-starts",
  "leaves the session of a failed start pending",
  async (controlPlane, hasQuirk) => {
    await using agent = await HandAgent.join(controlPlane.url);
    const commandId = controlPlane.command("a1", START);
    const state = async () => (await request(`${controlPlane.url}/api/v1/sessions/s1`)).state;
    assertEquals(await state(), "pending");
    agent.send("failed", { commandId, error: "no" });
    await controlPlane.result(commandId);
    assertEquals(await state(), hasQuirk ? "pending" : "failed");
  },
);

withAndWithout("approval", "lets an agent wait for its approval", async (controlPlane, hasQuirk) => {
  const body = { agentId: "a1", platform: "kubernetes" };
  const first = await register(controlPlane.url, body);
  const { approvalStatus } = await first.json();
  assertEquals([first.status, approvalStatus], hasQuirk ? [202, "pending"] : [200, undefined]);
  const approved = await request(`${controlPlane.url}/api/v1/agents/a1/approve`, {});
  assertEquals(approved.agentId, "a1");
  await using _agent = await HandAgent.join(controlPlane.url);
  assertEquals((await request(`${controlPlane.url}/api/v1/agents/a1`)).status, "online");
});
