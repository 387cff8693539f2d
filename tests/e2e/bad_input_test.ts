import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { HEALTH_ARGS, scrape } from "../support/scrape.ts";
import { AGENT_ID, onEachCluster, Stage } from "../support/stage.ts";

const GOOD = {
  sessionId: "s1",
  user: "alice",
  template: "firefox",
  persistentHome: false,
  memory: "512Mi",
  cpu: "250m",
};
/** Invalid payloads of a start, and what the reported error contains. */
const PAYLOADS: ReadonlyArray<{ name: string; payload: unknown; error: string }> = [
  { name: "no payload", payload: null, error: '"payload" must be an object, but is null' },
  {
    name: "a list as payload",
    payload: [1],
    error: '"payload" must be an object, but is a list',
  },
  { name: "text as payload", payload: "x", error: '"payload" must be an object, but is a string' },
  {
    name: "no session id",
    payload: { ...GOOD, sessionId: undefined },
    error: '"sessionId" is required',
  },
  {
    name: "an empty session id",
    payload: { ...GOOD, sessionId: "" },
    error: '"sessionId" must not be empty',
  },
  {
    name: "a number as session id",
    payload: { ...GOOD, sessionId: 7 },
    error: '"sessionId" must be a string, but is 7',
  },
  {
    name: "300 characters",
    payload: { ...GOOD, sessionId: "a".repeat(300) },
    error: '"sessionId" must have at most 253 characters',
  },
  {
    name: "no user",
    payload: { ...GOOD, user: undefined },
    error: '"user" is required',
  },
  {
    name: "an object as user",
    payload: { ...GOOD, user: {} },
    error: '"user" must be a string, but is an object',
  },
  {
    name: "no template",
    payload: { ...GOOD, template: null },
    error: '"template" is required',
  },
  {
    name: "an unknown template",
    payload: { ...GOOD, template: "nope" },
    error:
      'Cannot start session "s1": template "nope" not found, available are chrome, crashing, firefox, kali, libreoffice, missing, stuck, ubuntu, vscode',
  },
  {
    name: "an inherited name as template",
    payload: { ...GOOD, template: "constructor" },
    error: 'template "constructor" not found',
  },
  {
    name: "text for a truth value",
    payload: { ...GOOD, persistentHome: "yes" },
    error: '"persistentHome" must be true or false, but is "yes"',
  },
  ...["", "2GB", "-1", "1e3", "two", "0", "9Pi", "1"].map((memory) => ({
    name: `memory ${JSON.stringify(memory)}`,
    payload: { ...GOOD, memory },
    error: '"memory" must ',
  })),
  {
    name: "memory as a number",
    payload: { ...GOOD, memory: 2 },
    error: '"memory" must be at least 16Mi, but is "2"',
  },
  ...["", "-1", "0", "1 core", "1000"].map((cpu) => ({
    name: `cpu ${JSON.stringify(cpu)}`,
    payload: { ...GOOD, cpu },
    error: '"cpu" must ',
  })),
];

onEachCluster(
  "invalid payloads fail with the field and the reason, and create nothing",
  async (cluster, context) => {
    await using stage = await Stage.start(cluster);
    for (const { name, payload, error } of PAYLOADS) {
      await context.step(name, async () => {
        const commandId = stage.controlPlane.command(AGENT_ID, {
          action: "start_session",
          sessionId: "s1",
          payload,
        });
        const result = await stage.controlPlane.result(commandId);
        assertEquals(result.type, "failed");
        assertStringIncludes(String(result.payload.error), error);
      });
    }
    await context.step("an unknown action", async () => {
      const { error } = await stage.command("format_disk", { sessionId: "s1" });
      assertEquals(
        error,
        'Unknown action "format_disk": must be one of start_session, stop_session, hibernate_session, wake_session',
      );
    });
    await context.step("the other actions read their payload as strictly", async () => {
      const { error } = await stage.command("stop_session", { sessionId: "s1", deletePVC: "no" });
      assertEquals(error, '"deletePVC" must be true or false, but is "no"');
    });
    assertEquals(await cluster.leftovers(), []);
    const good = await stage.command("start_session", GOOD);
    assertEquals((good.result as Record<string, unknown>).state, "running");
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster(
  "malformed frames are ignored and counted, and valid commands next to them run",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: HEALTH_ARGS });
    const { controlPlane } = stage;
    const command = (commandId: unknown) =>
      JSON.stringify({
        type: "command",
        timestamp: new Date().toISOString(),
        payload: { commandId, action: "stop_session", payload: { sessionId: "ghost" } },
      });
    for (
      const frame of [
        "",
        "\n\n",
        "not json",
        "[]",
        "null",
        '{"type":7}',
        '{"type":"command"}',
        command(undefined),
        command(""),
        command(7),
        command("x".repeat(257)),
        '{"type":"no_such_type","payload":{}}',
        "x".repeat(2 * 1024 * 1024),
        new Uint8Array([0xff, 0xfe, 0x00]),
      ]
    ) controlPlane.sendFrame(AGENT_ID, frame);
    controlPlane.sendFrame(
      AGENT_ID,
      [command("cmd-a"), '{"type":"command", broken', command("cmd-b")].join("\n"),
    );
    const results = await Promise.all(["cmd-a", "cmd-b"].map((id) => controlPlane.result(id)));
    assertEquals(results.map((result) => result.type), ["complete", "complete"]);
    controlPlane.send(AGENT_ID, { type: "ping" });
    await controlPlane.waitFor((message) => message.type === "pong");
    const answered = controlPlane.messages.map(({ message }) => message.payload.commandId).filter(Boolean);
    assertEquals(new Set(answered), new Set(["cmd-a", "cmd-b"]));
    assertEquals(controlPlane.connections.length, 1);
    const ignored = [...await scrape(stage.agent)].filter(([name]) => name.includes("messages_ignored"));
    assertEquals(ignored, [
      ['k8s_agent_messages_ignored_total{reason="malformed"}', 11],
      ['k8s_agent_messages_ignored_total{reason="unknown"}', 1],
      ['k8s_agent_messages_ignored_total{reason="binary"}', 1],
    ]);
  },
);

onEachCluster(
  "unknown fields of a payload have no effect and are not logged",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--log-level=debug"] });
    const extra =
      '"__proto__":{"persistentHome":true},"constructor":1,"namespace":"kube-system","env":{"PASSWORD":"hunter2"}';
    const payload = JSON.stringify(GOOD).replace("{", `{${extra},`);
    stage.controlPlane.sendFrame(
      AGENT_ID,
      `{"type":"command","timestamp":"2026-01-01T00:00:00Z","payload":{"commandId":"cmd-x","action":"start_session","payload":${payload}}}`,
    );
    const { payload: { result } } = await stage.controlPlane.result("cmd-x");
    assertEquals((result as Record<string, unknown>).pvc, undefined);
    assertEquals((await cluster.leftovers()).length, 3);
    assert(!stage.agent.output.join("\n").includes("hunter2"));
  },
);
