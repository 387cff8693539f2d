import { assert, assertEquals } from "@std/assert";
import { LOG_FIELDS } from "../../lib/common/log.ts";
import { BUILT_IN_TEMPLATES } from "../../lib/model/template.ts";
import { MEMORY } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage } from "../support/stage.ts";

const FORGED =
  '\n2030-01-01T00:00:00.000Z [K8sAgent] forged\r\n{"level":"info","message":"forged"}\u001b[31m\u202e\u2028';
const SECRET = "s3cret-in-a-payload";
// deno-lint-ignore no-control-regex -- characters that must not be in a line
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

/** Sends all messages that can contain hostile text; returns the log. */
async function sendHostileText(stage: Stage): Promise<readonly string[]> {
  const payload = { sessionId: `s1${FORGED}`, user: "alice", template: "firefox", password: SECRET };
  stage.controlPlane.command(AGENT_ID, { action: `start${FORGED}`, sessionId: FORGED, payload });
  await stage.command("start_session", payload);
  await stage.command("start_session", { ...payload, sessionId: "s2", user: FORGED });
  await stage.command("start_session", { ...payload, sessionId: "s3", template: FORGED });
  await stage.command("start_session", {
    sessionId: "s4",
    user: "alice",
    template: "firefox",
    templateManifest: { apiVersion: "v1", spec: { env: [{ name: "PASSWORD", value: SECRET }] } },
  });
  await stage.command("wake_session", { sessionId: `s5${FORGED}` });
  stage.controlPlane.send(AGENT_ID, { type: `type${FORGED}` });
  stage.controlPlane.send(AGENT_ID, { type: "shutdown", payload: { reason: FORGED } });
  await stage.agent.ended();
  return stage.agent.output;
}

onEachCluster("hostile text is logged as one text line per message, without payloads", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--log-level=debug"] });
  const lines = await sendHostileText(stage);
  for (const line of lines) {
    assert(/^\d{4}-\d\d-\d\dT[\d:.]+Z \[K8sAgent\] /.test(line), line);
    assert(!line.startsWith("2030") && !UNPRINTABLE.test(line) && !line.includes(SECRET), line);
  }
  assert(lines.some((line) => line.includes("forged")));
}, [MEMORY]);

onEachCluster(
  "hostile text is logged as one JSON line per message, with documented fields only",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--log-level=debug", "--log-format=json"] });
    const lines = await sendHostileText(stage);
    for (const line of lines) {
      const { time, level, message, agentId, ...fields } = JSON.parse(line);
      assert(!Number.isNaN(Date.parse(time)) && !time.startsWith("2030"), line);
      assert(["debug", "info", "warn", "error"].includes(level) && message !== "forged", line);
      assertEquals(agentId, AGENT_ID);
      assertEquals(Object.keys(fields).filter((name) => !Object.hasOwn(LOG_FIELDS, name)), []);
      assert(!UNPRINTABLE.test(line) && !line.includes(SECRET), line);
    }
    assert(lines.some((line) => line.includes("forged")));
  },
  [MEMORY],
);

onEachCluster("the agent logs the documented lines in order", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--region=us-east-1", "--heartbeat-interval=10s"],
  });
  assertEquals(stage.agent.output.map((line) => line.replace(/^\S+ (?=\[K8sAgent\])/, "")), [
    `[K8sAgent] Starting agent: ${AGENT_ID} (platform: kubernetes, region: us-east-1)`,
    "[K8sAgent] Connecting to Control Plane...",
    `[K8sAgent] Registered successfully: ${AGENT_ID} (status: online)`,
    "[K8sAgent] WebSocket connected",
    `[K8sAgent] Connected to Control Plane: ${stage.controlPlane.url.replace("http", "ws")}`,
    "[K8sAgent] Starting heartbeat sender (interval: 10s)",
  ]);
  assertEquals(stage.controlPlane.registrations[0]?.body, {
    agentId: AGENT_ID,
    platform: "kubernetes",
    region: "us-east-1",
    capacity: { maxCpu: 100, maxMemory: 128, maxSessions: 100, cpu: "100 cores", memory: "128Gi" },
    features: ["tunnel.v1"],
    metadata: {
      namespace: cluster.namespace,
      kubernetes: true,
      // The built-in ones, and those of the test stage.
      templates: [...BUILT_IN_TEMPLATES.keys(), "missing", "crashing", "stuck"],
    },
  });
}, [MEMORY]);
